"""The comparison of MedSynth's variants: who is held out, and that every variant is measured in both ways."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from typing import Any, get_args

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from small import PROJECT
from tiny_medsynth import tiny_samples, use_tiny

from mmgen.condensation.condenser import Length
from mmgen.condensation.medsynth import PRESETS
from mmgen.data.phantoms import write_phantom_images
from mmgen.errors import UserError

SCRIPT = PROJECT / "benchmarks" / "medsynth_variants.py"


@pytest.fixture
def script() -> dict[str, Any]:
    """What the script defines."""
    return run_path(str(SCRIPT))


def test_subjects_are_on_one_side(script: dict[str, Any]) -> None:
    samples = tiny_samples((12, 18))
    subjects = np.arange(30) // 3
    held = script["subjects_apart"](samples, subjects, 0.5, 0)
    assert not set(subjects[held]) & set(subjects[~held])
    for label in range(2):
        assert 0 < held[samples.labels == label].sum() < (samples.labels == label).sum()
    with pytest.raises(UserError, match="one person"):
        script["subjects_apart"](samples, np.repeat([0, 1], (12, 18)), 0.5, 0)


def test_variants_differ_in_what_they_say(script: dict[str, Any]) -> None:
    base = replace(PRESETS["small"], phase2=Length(3, "epochs"))
    varied = {name: script["varied"](base, name) for name in get_args(script["Variant"])}
    assert varied["preset"] == base and len({repr(config) for config in varied.values()}) == len(varied)
    without = varied["no_networks"]
    assert without.network_updates == 0 and without.phase2 == (6, "epochs")
    assert without.phase1.count == 2 * base.phase1.count
    assert varied["deep"].width > base.width and varied["deep"].blocks > base.blocks


def test_every_variant_is_measured_drawn_and_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_tiny(monkeypatch)
    data = write_phantom_images(tmp_path / "lesions", "lesions", subjects_per_class=12, image_size=32)
    out = tmp_path / "a" / "rows.json"
    flags = ["--data", data, "--out", out, "--budget", "quick", "--variants", "preset", "networks_alone", "--ipc", 2]
    flags += ["--classifiers", "convnet", "--seeds", 2, "--cache", tmp_path / "cache"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, flags)])
    AcceleratorState._reset_state(reset_partial_state=True)
    run_path(str(SCRIPT), run_name="__main__")
    document = json.loads(out.read_text(encoding="utf-8"))
    assert [(row["variant"], row["set"]) for row in document["rows"]] == [
        (None, "random@2"),
        (None, "real"),
        *((variant, name) for variant in ("preset", "networks_alone") for name in ("drawn@2", "chosen@2")),
    ]
    assert [path.name for path in out.parent.iterdir()] == ["rows.json"]  # no decoded images beside results
    assert document["n_train"] > document["n_held_out"] > 0
    assert all(0 <= row["auc"]["mean"] <= 1 and row["auc"]["std"] >= 0 for row in document["rows"])
    shown = capsys.readouterr().out
    assert "| networks_alone |" in shown and "convnet chosen@2" in shown
