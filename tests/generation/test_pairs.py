from __future__ import annotations

import csv
import errno
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from small import LABELS, PRESET, PROJECT, SETTINGS, TWO_PROCESSES, digests, noise_samples, run, small_model
from tiny_medsynth import small_generator

from mmgen.cli.generating import Generate, generate
from mmgen.data.mel import log_mel, mel_to_waveform
from mmgen.data.samples import Samples
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError
from mmgen.generation.pairs import SyntheticBatch, generate_pairs, read_sources
from mmgen.generation.plan import Plan, make_plan
from mmgen.generation.writing import OutputOptions, write_dataset
from mmgen.models.cross_modal_mae import CrossModalMAE, visible_count

TWO_AT_ONCE = OutputOptions(batch_size=2)


@pytest.fixture(scope="module")
def model() -> CrossModalMAE:
    return small_model()


@pytest.fixture(scope="module")
def samples() -> dict[str, Samples]:
    return noise_samples()


def collect(batches: Iterable[SyntheticBatch]) -> dict[int, dict[str, np.ndarray]]:
    """Every sample by index: its label, arrays and sounds."""
    found: dict[int, dict[str, np.ndarray]] = {}
    for batch in batches:
        for row, index in enumerate(batch.indices.tolist()):
            assert index not in found
            sounds = {f"{name} sound": waves[row] for name, waves in batch.waveforms.items()}
            found[index] = {
                "label": batch.labels[row],
                **{name: values[row] for name, values in batch.values.items()},
                **sounds,
            }
    return found


def make(model: CrossModalMAE, samples: Any, per_class: int = 4, **options: Any) -> dict[int, dict[str, np.ndarray]]:
    return collect(generate_pairs(model, samples, per_class, progress=False, **{"device": "cpu", **options}))


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def patches(model: CrossModalMAE, name: str, values: np.ndarray) -> torch.Tensor:
    """(B, C, H, W) -> (B, N, P)."""
    return model.modalities[name].patchify(torch.from_numpy(values.astype(np.float32)))


def kept_patches(model: CrossModalMAE, plan: Plan, samples: dict[str, Samples], name: str, made: dict) -> list[int]:
    """How many patches of each generated sample are those of its source."""
    values = np.stack([made[index][name] for index in sorted(made)])
    source = patches(model, name, samples[name].values[plan.sources[name]])
    tolerance = 0.0 if name == "image" else 1e-3  # log-mels go through the normalisation and back in float32
    return ((patches(model, name, values) - source).abs() <= tolerance).all(-1).sum(1).tolist()


# -- who starts from whom


def test_partners_of_all_modalities_share_the_label(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    plan = make_plan(model, samples, per_class=23)
    for name, source in plan.sources.items():
        assert np.array_equal(samples[name].labels[source], plan.labels)
    assert Counter(plan.labels.tolist()) == {0: 23, 1: 23}


@pytest.mark.parametrize("per_class", [1, 4, 9, 23])
def test_every_real_sample_of_a_label_is_used_before_any_is_repeated(
    model: CrossModalMAE, samples: dict[str, Samples], per_class: int
) -> None:
    plan = make_plan(model, samples, per_class)
    for name, source in plan.sources.items():
        for label in range(len(LABELS)):
            members = np.flatnonzero(samples[name].labels == label)
            used = source[plan.labels == label]
            for start in range(0, per_class, len(members)):
                around = used[start : start + len(members)]
                assert len(set(around)) == len(around)


def test_the_plan_is_a_function_of_the_seed(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    first, again, other = (make_plan(model, samples, 9, seed=seed) for seed in (3, 3, 4))
    for name in model.modalities:
        assert np.array_equal(first.sources[name], again.sources[name])
        assert not np.array_equal(first.sources[name], other.sources[name])


def test_rounds_and_modalities_have_orders_of_their_own(model: CrossModalMAE) -> None:
    plan = make_plan(model, noise_samples((8, 8), (8, 8)), per_class=24)
    rounds = {tuple(plan.sources[name][start : start + 8]) for name in model.modalities for start in (0, 8, 16)}
    assert len(rounds) == 6


# -- same seed, same samples


def test_a_sample_does_not_depend_on_how_the_work_is_shared_out(
    model: CrossModalMAE, samples: dict[str, Samples]
) -> None:
    whole = make(model, samples, per_class=5, batch_size=3)
    assert sorted(whole) == list(range(10))
    for world in (2, 3, 7):
        parts = [make(model, samples, per_class=5, batch_size=3, shard=(rank, world)) for rank in range(world)]
        assert sum(map(len, parts)) == len(whole)
        together = {index: sample for part in parts for index, sample in part.items()}
        assert all(equal(whole[index], together[index]) for index in whole)


def test_a_sample_does_not_depend_on_its_neighbours_beyond_rounding(
    model: CrossModalMAE, samples: dict[str, Samples]
) -> None:
    one, many = make(model, samples, batch_size=1), make(model, samples, batch_size=8)
    for index in one:
        np.testing.assert_allclose(one[index]["image"].astype(int), many[index]["image"].astype(int), atol=1)
        np.testing.assert_allclose(one[index]["audio"], many[index]["audio"], atol=1e-3)


def test_another_seed_makes_other_samples(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    first, again, other = (make(model, samples, seed=seed) for seed in (0, 0, 1))
    assert all(equal(first[index], again[index]) for index in first)
    for key in ("image", "audio", "audio sound"):
        assert not any(np.array_equal(first[index][key], other[index][key]) for index in first)


def test_repeated_sources_are_masked_anew(model: CrossModalMAE) -> None:
    made = make(model, noise_samples((1, 1), (1, 1)), per_class=3)
    assert len({made[index]["image"].tobytes() for index in range(3)}) == 3


SCRIPT = PROJECT / "tests" / "scripts" / "generate_small.py"
SHARDS = ("--format", "webdataset", "--shard-size", "4")  # whole batches of 3: 6 samples and 4


def command_for(model_folder: Path, files: dict[str, Path], out: Path, *more: str) -> list[str]:
    """Ten samples in batches of three."""
    sources = ["--images", str(files["image"]), "--audio", str(files["audio"])]
    return ["generate", str(model_folder), "--per-class", "5", *sources, "--batch-size", "3", "--out", str(out), *more]


@pytest.mark.timeout(300)
def test_one_and_two_processes_write_the_same_bytes(
    model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path
) -> None:
    def command(name: str, seed: int, *more: str) -> list[str]:
        return command_for(model_folder, phantom_files, tmp_path / name, "--seed", str(seed), *more)

    # Two threads here and one a process there: numbers may not depend on that either.
    one = run(
        SCRIPT, json.dumps([command("one", 3), command("one shards", 3, *SHARDS), command("other", 4)]), threads=2
    )
    assert one.returncode == 0, one.stderr
    (tmp_path / "two").mkdir()
    two = run(SCRIPT, json.dumps([command("two", 3), command("two shards", 3, *SHARDS)]), processes=2)
    assert two.returncode == 0, two.stderr

    written = {name: digests(tmp_path / name) for name in ("one", "two", "other", "one shards", "two shards")}
    assert len(written["one"]) == 3 + 3 * 10 and len(written["one shards"]) == 2 + 2
    assert written["one"] == written["two"] and written["one shards"] == written["two shards"]
    assert written["one"].keys() == written["other"].keys()
    same = {name for name, digest in written["one"].items() if digest == written["other"][name]}
    assert same == {"README.md"}
    for form in ("one", "one shards"):
        assert verify_dataset(tmp_path / form) == []
    read = [read_dataset(tmp_path / form, SETTINGS) for form in ("one", "one shards")]
    assert all(np.array_equal(read[0][name].values, read[1][name].values) for name in SETTINGS)


# -- interrupted and gone on with


class Counted:
    """Counts a model's batches, and stops with an error before the one of a number."""

    def __init__(self, model: CrossModalMAE, monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> None:
        self.batches, self._stop_at, self._made = 0, stop_at, model.reconstruct
        monkeypatch.setattr(model, "reconstruct", self)

    def __call__(self, *arguments: Any) -> Any:
        if self.batches == self._stop_at:
            raise KeyboardInterrupt
        self.batches += 1
        return self._made(*arguments)


@pytest.mark.parametrize(("form", "overwrite"), [("folder", True), ("webdataset", False)])
def test_only_what_is_missing_is_made_again(
    samples: dict[str, Samples],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
    form: Any,
    overwrite: bool,
) -> None:
    caplog.set_level("INFO")
    model = small_model()
    plan, how = make_plan(model, samples, 20), OutputOptions(form, batch_size=2, shard_size=4)
    write_dataset(model, plan, tmp_path / "whole", how)
    with monkeypatch.context() as patch:
        Counted(model, patch, stop_at=17)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(model, plan, tmp_path / "set", how)
    assert "being written, or was interrupted" in verify_dataset(tmp_path / "set")[0]
    with monkeypatch.context() as patch:
        left = Counted(model, patch)
        write_dataset(model, plan, tmp_path / "set", replace(how, overwrite=overwrite))
    there = int(re.search(r"set: going on, (\d+) of 40 samples are there", caplog.text)[1])  # type: ignore[index]
    assert there > 0 and left.batches == 20 - there // 2
    assert digests(tmp_path / "set") == digests(tmp_path / "whole")


def test_another_plan_or_changed_data_are_not_mixed_in(
    model: CrossModalMAE, samples: dict[str, Samples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    with monkeypatch.context() as patch:
        Counted(model, patch, stop_at=1)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(model, make_plan(model, samples, 4), tmp_path / "set", TWO_AT_ONCE)
    before = digests(tmp_path / "set")

    def refused(
        words: str, given: dict[str, Samples] = samples, how: OutputOptions = TWO_AT_ONCE, **options: Any
    ) -> None:
        made = {name: options.pop(name) for name in ("source_ids", "model_name") if name in options}
        plan = make_plan(model, given, **{"per_class": 4, **options})
        with pytest.raises(UserError, match=f"interrupted data set that differs in .*{words}"):
            write_dataset(model, plan, tmp_path / "set", how, **made)
        assert digests(tmp_path / "set") == before

    refused(r"seed \(0, now 1\)", seed=1)
    refused(r"samples per class \(4, now 5\)", per_class=5)
    refused(r"batch size \(2, now 3\)", how=OutputOptions(batch_size=3))
    refused("mask ratio", mask_ratio=0.5)
    refused("pasting", paste_visible=True)
    refused("segments", segments=2)
    refused(r"source ids \(true, now false\)", source_ids=False)
    refused(r"model name \(\w+, now another\)", model_name="another")
    refused(r"format \(folder, now webdataset\)", how=OutputOptions("webdataset", batch_size=2))
    image = samples["image"]
    changed = image.values.copy()
    changed[3, 0, 5, 5] ^= 1
    refused("real samples", given={**samples, "image": replace(image, values=changed)})
    refused("real samples", given={**samples, "image": replace(image, rows=image.rows + 1)})
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    refused("model")


def test_a_full_disk_loses_nothing(
    model: CrossModalMAE, samples: dict[str, Samples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(model, samples, 4)
    write_dataset(model, plan, tmp_path / "whole", TWO_AT_ONCE)
    rename = os.replace

    def full_after(count: int) -> Any:
        def replace(*names: Any) -> None:
            nonlocal count
            count -= 1
            if count < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            rename(*names)

        return replace

    kept = 0
    for count in (4, 7, 9, 3):  # the mark is written once, and whole batches are not written again
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full_after(count))
            with pytest.raises(UserError, match=r"disk is full: .* free space and run the same command again"):
                write_dataset(model, plan, tmp_path / "set", TWO_AT_ONCE)
        found = digests(tmp_path / "set")
        assert len(found) >= kept and not any(".tmp-" in name for name in found)
        kept = len(found)
    write_dataset(model, plan, tmp_path / "set", TWO_AT_ONCE)
    assert digests(tmp_path / "set") == digests(tmp_path / "whole")


def killed_at(command: list[str], moments: Iterable[tuple[int, str]]) -> list[dict[str, Any]]:
    """The command, killed at these moments, and then left to end."""
    return [{"arguments": command, "kill": moment} for moment in (*moments, (10**9, "before"))]


@pytest.mark.timeout(300)
def test_a_killed_run_goes_on_to_the_same_bytes(
    model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path
) -> None:
    rng = random.Random(0)
    # Five moments in the order of the files: mark, 30 files, table, README, dataset.json.
    places = [0, *sorted(rng.sample(range(1, 34), 5))]
    folder = [(end - start, rng.choice(["before", "after"])) for start, end in pairwise(places)]
    shards = [
        (2, "member"),
        (rng.randrange(3, 24), "member"),
        (1, "after"),
        (rng.randrange(1, 16), "member"),
        (2, "after"),
    ]
    commands: list[dict[str, Any]] = []
    for form, moments in (("folder", folder), ("shards", shards)):
        flags = SHARDS if form == "shards" else ()
        for name, kills in (("undisturbed", []), ("killed", moments)):
            out = tmp_path / f"{name} {form}"
            commands += killed_at(command_for(model_folder, phantom_files, out, *flags), kills)
    done = run(SCRIPT, json.dumps(commands))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [False, *[True] * 5, False] * 2
    for form in ("folder", "shards"):
        assert digests(tmp_path / f"killed {form}") == digests(tmp_path / f"undisturbed {form}")
        assert verify_dataset(tmp_path / f"killed {form}") == []


@pytest.mark.slow
def test_a_run_may_be_killed_at_every_moment(
    model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path
) -> None:
    forms = {
        "folder": [(number, "after" if number % 2 else "before") for number in range(1, 35)] + [(34, "after")],
        "shards": [(number, moment) for number in range(1, 6) for moment in ("before", "after")]
        + [(number, "member") for number in range(1, 41, 5)],
    }
    for form, moments in forms.items():
        flags = SHARDS if form == "shards" else ()
        commands = killed_at(command_for(model_folder, phantom_files, tmp_path / form, *flags), [])
        for number, moment in enumerate(moments):
            out = tmp_path / f"{form} {number}"
            commands += killed_at(command_for(model_folder, phantom_files, out, *flags), [moment])
        done = run(SCRIPT, json.dumps(commands), timeout=1800)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == [False, *[True, False] * len(moments)]
        for number in range(len(moments)):
            assert digests(tmp_path / f"{form} {number}") == digests(tmp_path / form)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_two_processes_that_are_killed_go_on_to_the_same_bytes(
    model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path, form: str
) -> None:
    flags = ["--format", form, "--shard-size", "6", "--per-class", "40"]
    out = tmp_path / "killed"
    command = json.dumps([command_for(model_folder, phantom_files, out, *flags)])
    whole = json.dumps([command_for(model_folder, phantom_files, tmp_path / "whole", *flags)])
    assert run(SCRIPT, whole).returncode == 0
    end = len(digests(tmp_path / "whole"))
    for files in sorted(random.Random(form).sample(range(2, end - 6), 3)):
        kill_at(command, lambda files=files: len(list(out.rglob("[!.]*.*"))) >= files)
    done = run(SCRIPT, command, processes=2)
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(tmp_path / "whole")


def kill_at(command: str, moment: Callable[[], bool]) -> None:
    """Start two processes and kill them and their launcher when the moment has come."""
    launcher = ["-m", "accelerate.commands.launch", f"--config_file={TWO_PROCESSES}", str(SCRIPT), command]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, *launcher], env=variables, **quiet) as launched:
        while not moment():
            assert launched.poll() is None, "ended before it could be killed"
            time.sleep(0.002)
        process = psutil.Process(launched.pid)
        for one in [*process.children(recursive=True), process]:
            one.kill()


# -- sounds of several segments


def recordings(segments: Iterable[int]) -> Samples:
    """White noise; recordings of both labels in turns with these numbers of segments."""
    counts = list(segments)
    rows = np.repeat(np.arange(len(counts)), counts)
    values = np.random.default_rng(0).uniform(-9, 1, (len(rows), *PRESET.audio.shape)).astype(np.float16)
    return Samples(values, rows % 2, LABELS, rows)


def test_a_sound_is_made_of_consecutive_segments_of_one_recording(
    model: CrossModalMAE, samples: dict[str, Samples]
) -> None:
    given = {**samples, "audio": recordings([1, 2, 3, 4, 5, 6])}
    plan = make_plan(model, given, 20, segments=3)
    rows = given["audio"].rows
    found = set()
    for start, length in zip(plan.sources["audio"].tolist(), plan.lengths["audio"].tolist(), strict=True):
        place = start - int(np.flatnonzero(rows == rows[start])[0])
        assert set(rows[start : start + length]) == {rows[start]} and place % 3 == 0
        found.add((int(rows[start]) + 1, place, length))
    assert found == {(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 0, 3), (4, 3, 1), (5, 0, 3), (5, 3, 2), (6, 0, 3), (6, 3, 3)}
    assert (plan.lengths["image"] == 1).all()
    assert make_plan(model, given, segments=3).per_class == 7  # images; of clips there are five at most


def test_recordings_of_one_segment_give_what_they_gave(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    one, three = make(model, samples), make(model, samples, segments=3)
    assert all(equal(one[index], three[index]) for index in one)


def test_segments_are_reconstructed_one_by_one_and_joined(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    given = {**samples, "audio": recordings([3, 2, 1, 3])}
    made = make(model, given, segments=3, batch_size=4)
    plan = make_plan(model, given, 4, segments=3)
    single = make(model, given, batch_size=4)
    for index, sample in made.items():
        length = int(plan.lengths["audio"][index])
        assert sample["audio"].shape == (1, PRESET.audio.n_mels, length * PRESET.audio.segment_frames)
        assert sample["audio sound"].shape == (length * PRESET.audio.segment_samples,)
        assert sample["image"].shape == PRESET.image.shape
        parts = torch.from_numpy(sample["audio"][0]).split(PRESET.audio.segment_frames, dim=-1)
        assert np.array_equal(sample["audio sound"], mel_to_waveform(torch.cat(parts, -1), PRESET.audio).numpy())
        assert len({part.numpy().tobytes() for part in parts}) == length
    copied = make(model, given, segments=3, batch_size=4, mask_ratio=0.0, paste_visible=True)
    for index, sample in copied.items():  # everything visible: the recording itself
        start, length = int(plan.sources["audio"][index]), int(plan.lengths["audio"][index])
        expected = np.concatenate(list(given["audio"].values[start : start + length]), axis=-1)
        np.testing.assert_allclose(sample["audio"], expected, atol=1e-3)
    assert len(single) == len(made)


def test_every_segment_is_masked_anew(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    audio = recordings([3, 3])
    alike = replace(audio, values=np.broadcast_to(audio.values[:1], audio.values.shape))
    made = make(model, {**samples, "audio": alike}, 1, segments=3)
    for sample in made.values():
        parts = np.split(sample["audio"], 3, axis=-1)
        assert len({part.tobytes() for part in parts}) == 3


def test_sounds_of_several_segments_do_not_depend_on_how_the_work_is_shared_out(
    model: CrossModalMAE, samples: dict[str, Samples]
) -> None:
    given = {**samples, "audio": recordings([3, 2, 1, 3])}
    whole = make(model, given, per_class=5, batch_size=3, segments=2)
    parts = [make(model, given, per_class=5, batch_size=3, segments=2, shard=(rank, 2)) for rank in range(2)]
    together = {index: sample for part in parts for index, sample in part.items()}
    assert len(together) == 10 and all(equal(whole[index], together[index]) for index in whole)


def test_a_sound_made_from_the_other_alone_has_one_segment(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    ratios = {"image": 0.75, "audio": 1.0}
    one, four = (make(model, {"image": samples["image"]}, mask_ratio=ratios, segments=count) for count in (1, 4))
    assert all(equal(one[index], four[index]) for index in one)


@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_sounds_of_several_segments_are_read_back_as_segments(
    model: CrossModalMAE, samples: dict[str, Samples], tmp_path: Path, form: Any
) -> None:
    given = {**samples, "audio": recordings([3, 2, 1, 3])}
    plan = make_plan(model, given, 3, segments=2)
    folder = write_dataset(model, plan, tmp_path / "set", OutputOptions(form, batch_size=4, shard_size=4))
    assert verify_dataset(folder) == [] and json.loads((folder / "dataset.json").read_text())["segments"] == 2
    read = read_dataset(folder, SETTINGS)
    lengths = plan.lengths["audio"]
    assert set(lengths) == {1, 2}
    assert np.array_equal(read["audio"].rows, np.repeat(np.arange(6), lengths))
    assert np.array_equal(read["audio"].labels, plan.labels[read["audio"].rows])
    assert np.array_equal(read["image"].rows, np.arange(6))
    made = make(model, given, per_class=3, segments=2, batch_size=4)
    for index in range(6):
        segments = read["audio"].values[read["audio"].rows == index]
        assert np.array_equal(np.concatenate(list(segments), axis=-1), made[index]["audio"])
    if form == "folder":
        assert [int(row["audio_segments"]) for row in rows_of(folder)] == lengths.tolist()


def test_the_command_makes_sounds_of_several_segments(
    model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "set"
    files = {"images": phantom_files["image"], "audio": phantom_files["audio"]}
    generate(Generate(model=str(model_folder), per_class=2, out=out, segments=2, **files))
    lengths = [int(row["audio_segments"]) for row in rows_of(out)]
    widths = [np.load(out / row["audio_spectrogram"]).shape[1] for row in rows_of(out)]
    assert max(lengths) == 2 and widths == [length * PRESET.audio.segment_frames for length in lengths]


# -- what is copied


def test_the_full_decode_copies_no_patch(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    made = make(model, samples, per_class=9, mask_ratio=0.5)
    plan = make_plan(model, samples, per_class=9, mask_ratio=0.5)
    for name in model.modalities:
        assert kept_patches(model, plan, samples, name, made) == [0] * 18


def test_paste_visible_keeps_the_visible_patches_alone(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    ratios = {"image": 0.5, "audio": 0.75}
    made = make(model, samples, per_class=4, mask_ratio=ratios, paste_visible=True)
    plan = make_plan(model, samples, per_class=4, mask_ratio=ratios, paste_visible=True)
    for name, modality in model.modalities.items():
        visible = visible_count(modality.tokens, ratios[name])
        assert kept_patches(model, plan, samples, name, made) == [visible] * 8


@pytest.mark.parametrize("paste_visible", [False, True])
def test_a_data_set_says_whether_it_copies_real_data(
    model: CrossModalMAE, samples: dict[str, Samples], tmp_path: Path, paste_visible: bool
) -> None:
    plan = make_plan(model, samples, 2, paste_visible=paste_visible)
    folder = write_dataset(model, plan, tmp_path / "set")
    assert json.loads((folder / "dataset.json").read_text())["copies_real_data"] is paste_visible
    assert {row["copies_real_data"] for row in rows_of(folder)} == {str(paste_visible)}
    readme = (folder / "README.md").read_text()
    assert ("copied" in readme) is paste_visible
    assert ("no file in it is a recording or picture of a person" in readme) is not paste_visible


# -- one modality from another


def test_a_modality_is_made_from_the_other_alone(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    ratios = {"image": 0.75, "audio": 1.0}
    images = {"image": samples["image"]}
    assert (make_plan(model, images, 4, ratios).sources["audio"] == -1).all()
    made = make(model, images, mask_ratio=ratios)
    with_files = make(model, samples, mask_ratio=ratios)
    assert all(equal(made[index], with_files[index]) for index in made)  # hidden whole: files are not looked at
    assert all(np.isfinite(sample["audio"]).all() for sample in made.values())
    black = Samples(np.zeros_like(images["image"].values), images["image"].labels, LABELS, images["image"].rows)
    other = make(model, {"image": black}, mask_ratio=ratios)
    assert not any(np.array_equal(made[index]["audio"], other[index]["audio"]) for index in made)


def test_sound_and_spectrogram_belong_together(model: CrossModalMAE, phantom_files: dict[str, Path]) -> None:
    # Nothing hidden and everything pasted: spectrograms that sounds can have.
    made = make(model, phantom_files, mask_ratio=0.0, paste_visible=True)
    again = log_mel(torch.from_numpy(np.stack([made[i]["audio sound"] for i in made])), PRESET.audio).numpy()
    written = np.stack([made[i]["audio"][0] for i in made])
    for own in range(len(made)):
        distance = np.abs(again[own] - written).mean(axis=(1, 2))
        assert distance.argmin() == own and distance[own] < 1.0
    for sample in made.values():
        assert sample["audio sound"].shape == (PRESET.audio.segment_samples,)
        assert np.abs(sample["audio sound"]).max() <= 1.0
        assert sample["image"].dtype == np.uint8


# -- where the data come from


def test_paths_and_decoded_samples_give_the_same(model_folder: Path, phantom_files: dict[str, Path]) -> None:
    model = small_model()
    decoded = read_sources(model, phantom_files)
    from_paths, from_arrays = make(model_folder, phantom_files, 2), make(model, decoded, 2)
    assert all(equal(from_paths[index], from_arrays[index]) for index in from_arrays)


def test_sources_are_of_one_split_where_there_are_splits(phantom_files: dict[str, Path]) -> None:
    model = small_model()
    counts = {split: len(read_sources(model, phantom_files, split=split)["image"]) for split in ("train", "test", None)}
    assert counts["train"] + counts["test"] == counts[None] and min(counts["train"], counts["test"]) > 0


def test_metadata_point_at_rows_of_the_sources(
    model: CrossModalMAE, samples: dict[str, Samples], tmp_path: Path
) -> None:
    plan = make_plan(model, samples, 3, {"image": 0.5, "audio": 1.0}, seed=7)
    rows = rows_of(write_dataset(model, plan, tmp_path / "with", model_name="abc"))
    assert [int(row["source_image_id"]) - 100 for row in rows] == plan.sources["image"].tolist()
    assert {row["source_audio_id"] for row in rows} == {""}
    assert [row["label"] for row in rows] == [LABELS[label] for label in plan.labels]
    assert {(row["seed"], row["model"], row["image_mask_ratio"], row["audio_mask_ratio"]) for row in rows} == {
        ("7", "abc", "0.5", "1.0")
    }
    without = rows_of(write_dataset(model, plan, tmp_path / "without", source_ids=False))
    assert not any("source" in column for column in without[0])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# -- what is refused


def test_what_cannot_be_made_is_refused_in_a_sentence(model: CrossModalMAE, samples: dict[str, Samples]) -> None:
    def refused(words: str, given: dict[str, Samples] = samples, **options: Any) -> None:
        with pytest.raises(UserError, match=words):
            make_plan(model, given, **{"per_class": 2, **options})

    refused("at least 1, got 0", per_class=0)
    refused("segments must be at least 1, got 0", segments=0)
    refused("segments must be at least 1, got -1", segments=-1, per_class=None)
    refused("seed is 0 or more, got -1", seed=-1)
    refused("between 0 and 1, got 1.5", mask_ratio=1.5)
    refused("needed for .*'audio'", mask_ratio={"image": 0.5})
    refused(r"no samples of \['audio'\]", given={"image": samples["image"]})
    refused("every modality is hidden whole", mask_ratio=1.0)
    refused("label 'healthy'", given={**samples, "image": samples["image"].select(samples["image"].labels == 0)})
    renamed = Samples(samples["audio"].values, samples["audio"].labels, ("a", "b"), samples["audio"].rows)
    refused("different labels", given={**samples, "audio": renamed})


def test_fusion_by_the_others_queries_needs_equal_mask_ratios(samples: dict[str, Samples]) -> None:
    model = small_model("other")
    assert len(make(model, samples)) == 8
    with pytest.raises(UserError, match="same mask ratio"):
        make_plan(model, samples, 2, {"image": 0.75, "audio": 1.0})


def test_a_generator_without_real_samples_makes_no_tuples(samples: dict[str, Samples]) -> None:
    with pytest.raises(UserError, match=r"makes images without real ones; call its sample"):
        next(generate_pairs(small_generator(), samples))  # type: ignore[arg-type]


def test_unknown_modalities_and_models_without_preprocessing_are_refused(
    phantom_files: dict[str, Path], samples: dict[str, Samples]
) -> None:
    model = small_model()
    with pytest.raises(UserError, match=r"not \['breath'\]"):
        read_sources(model, {"breath": phantom_files["audio"]})
    with pytest.raises(UserError, match="no 'val' split"):
        read_sources(model, phantom_files, split="val")
    model.config["preprocessing"] = {}
    with pytest.raises(UserError, match="does not say how"):
        make(model, samples)
