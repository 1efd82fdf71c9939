"""Results are kept by content: nothing is measured twice on the same data, and anew on any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mmgen.data.samples import Samples
from mmgen.evaluation.measured import Measured, fingerprint


def samples(seed: int = 0) -> Samples:
    values = np.random.default_rng(seed).integers(0, 256, (300, 1, 4, 4), dtype=np.uint8)
    return Samples(values, np.arange(300) % 2, ("a", "b"), np.arange(300))


def test_a_second_call_measures_nothing(tmp_path: Path) -> None:
    calls = []

    def measure() -> dict:
        calls.append(1)
        return {"auc": (0.5, 0.25), 7: None}

    first = Measured(tmp_path / "é ü").once("attack/image", {"seed": 0}, measure)
    again = Measured(tmp_path / "é ü")
    assert again.once("attack/image", {"seed": 0}, measure) == first == {"auc": [0.5, 0.25], "7": None}
    assert len(calls) == 1 and again.reused == 1
    for name, depends_on in (("attack/image", {"seed": 1}), ("attack/audio", {"seed": 0}), ("attack/image", {})):
        again.once(name, depends_on, measure)
    assert len(calls) == 4


def test_a_damaged_result_is_measured_again(tmp_path: Path) -> None:
    measured = Measured(tmp_path)
    measured.once("x", {}, lambda: 1)
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    assert measured.once("x", {}, lambda: 2) == 2 and measured.once("x", {}, lambda: 3) == 2


def test_without_a_folder_nothing_is_kept() -> None:
    measured = Measured(None)
    assert [measured.once("x", {}, lambda n=n: n) for n in (1, 2)] == [1, 2]


def test_a_failed_measurement_leaves_nothing(tmp_path: Path) -> None:
    measured = Measured(tmp_path)
    try:
        measured.once("x", {}, lambda: 1 / 0)
    except ZeroDivisionError:
        assert not list(tmp_path.iterdir())
    else:
        raise AssertionError


def test_fingerprints_change_with_values_labels_files_and_owners_alone() -> None:
    one = samples()
    people = np.array([f"p{i // 3}" for i in range(300)])
    known = fingerprint(one, people)
    assert known == fingerprint(replace(one, rows=one.rows + 5), np.char.add("x", people))
    changed = one.values.copy()
    changed[299, 0, 3, 3] ^= 1
    others = [
        fingerprint(one),
        fingerprint(replace(one, values=changed), people),
        fingerprint(replace(one, labels=1 - one.labels), people),
        fingerprint(replace(one, label_names=("a", "c")), people),
        fingerprint(one, np.arange(300)),
        fingerprint(replace(one, rows=one.rows // 2), people),
    ]
    assert len({known, *others}) == 7
