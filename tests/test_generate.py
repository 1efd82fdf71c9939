from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import LABELS, PRESET, PROJECT, digests, noise_samples, run, small_model

from mmgen.data.audio import log_mel
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.generate import Plan, SyntheticBatch, generate_pairs, make_plan, read_sources, write_dataset
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.masking import visible_count


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


def test_one_and_two_processes_write_the_same_bytes(
    model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path
) -> None:
    def command(name: str, seed: int, *more: str) -> list[str]:
        sources = ["--images", str(phantom_files["image"]), "--audio", str(phantom_files["audio"])]
        out = ["--seed", str(seed), "--batch-size", "3", "--out", str(tmp_path / name)]
        return ["generate", str(model_folder), "--per-class", "5", *sources, *out, *more]

    script = PROJECT / "tests" / "generate_small.py"
    # Two threads here and one a process there: numbers may not depend on that either.
    one = run(script, json.dumps([command("one", 3), command("other", 4)]), threads=2)
    assert one.returncode == 0, one.stderr
    (tmp_path / "two").mkdir()
    two = run(script, json.dumps([command("two", 3)]), processes=2)
    assert two.returncode == 0, two.stderr

    written = {name: digests(tmp_path / name) for name in ("one", "two", "other")}
    assert len(written["one"]) == 3 + 3 * 10
    assert written["one"] == written["two"]
    assert written["one"].keys() == written["other"].keys()
    same = {name for name, digest in written["one"].items() if digest == written["other"][name]}
    assert same == {"README.md"}


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
    folder = write_dataset(model, plan, samples, tmp_path / "set")
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
    rows = rows_of(write_dataset(model, plan, samples, tmp_path / "with", model_name="abc"))
    assert [int(row["source_image_id"]) - 100 for row in rows] == plan.sources["image"].tolist()
    assert {row["source_audio_id"] for row in rows} == {""}
    assert [row["label"] for row in rows] == [LABELS[label] for label in plan.labels]
    assert {(row["seed"], row["model"], row["image_mask_ratio"], row["audio_mask_ratio"]) for row in rows} == {
        ("7", "abc", "0.5", "1.0")
    }
    without = rows_of(write_dataset(model, plan, samples, tmp_path / "without", source_ids=False))
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
