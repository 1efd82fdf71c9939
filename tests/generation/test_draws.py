"""Samples of a denoising model: from labels and chance, or from another modality; by the command and by Python."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import call
from small import LABELS, digests, noise_samples, small_model

import mmgen
from mmgen.artifacts.models import save_model
from mmgen.data.samples import Samples
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError
from mmgen.generation.pairs import generate_pairs
from mmgen.generation.plan import make_plan
from mmgen.generation.writing import OutputOptions, write_dataset
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.generative import Sampling

FEW = Sampling(steps=3)
Command = Callable[..., int]


@pytest.fixture(scope="module")
def model() -> DenoisingMAE:
    made = small_model(decoder="denoise")
    assert isinstance(made, DenoisingMAE)
    return made


@pytest.fixture(scope="module")
def folder(model: DenoisingMAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawing") / "model"
    save_model(model, folder)
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    return lambda *arguments: call(monkeypatch, *arguments)


def made(model: DenoisingMAE, per_class: int = 3, **options: Any) -> dict[int, dict[str, np.ndarray]]:
    batches = generate_pairs(model, None, per_class, progress=False, device="cpu", sampling=FEW, **options)
    return {
        index: {name: values[row] for name, values in batch.values.items()}
        for batch in batches
        for row, index in enumerate(batch.indices.tolist())
    }


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_label_and_chance_are_enough(model: DenoisingMAE) -> None:
    samples = made(model, seed=1)
    assert list(samples) == list(range(6))
    assert samples[0]["image"].shape == (1, 32, 32) and samples[0]["audio"].shape == (1, 40, 40)
    assert not any(same(samples[0], other) for index, other in samples.items() if index)
    assert not any(same(samples[0], other) for other in made(model, seed=2).values())


def test_a_sample_is_the_same_to_the_bit_whatever_else_is_made(model: DenoisingMAE) -> None:
    whole = made(model, 9)
    for options in ({"batch_size": 1}, {"batch_size": 5}, {"batch_size": 100}):
        again = made(model, 9, **options)
        assert all(same(whole[index], again[index]) for index in whole)
    halves = made(model, 9, batch_size=3, shard=(0, 2)) | made(model, 9, batch_size=3, shard=(1, 2))
    assert all(same(whole[index], halves[index]) for index in whole)


def test_a_set_says_that_it_came_from_noise_and_names_no_source(model: DenoisingMAE, tmp_path: Path) -> None:
    plan = make_plan(model, per_class=3, seed=4, sampling=FEW)
    folder = write_dataset(model, plan, tmp_path / "set")
    assert verify_dataset(folder) == []
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not [column for column in rows[0] if "source" in column or "ratio" in column]
    assert {row["may_hold_real_pixels"] for row in rows} == {"False"}
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert (about["input_prior"], about["steps"], about["guidance"]) == ("noise", 3, Sampling.guidance)
    assert about["copies_real_data"] is False
    other = write_dataset(model, plan, tmp_path / "other", OutputOptions(batch_size=5))
    assert digests(folder) == digests(other)


def test_one_modality_is_made_from_real_samples_of_another(model: DenoisingMAE, tmp_path: Path) -> None:
    real = noise_samples()
    plan = make_plan(model, real, per_class=3, start="image", sampling=FEW)
    folder = write_dataset(model, plan, tmp_path / "set")
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert list(about["preprocessing"]) == ["audio"] and about["input_prior"] == "real"
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not (folder / "images").exists(), "real pictures are not written"
    known = real["image"].rows[real["image"].labels == 0].tolist()
    assert all(int(row["source_image_id"]) in known for row in rows if row["label"] == LABELS[0])
    # It depends on the picture: with others it is another sound.
    other = {"image": Samples(255 - real["image"].values, real["image"].labels, LABELS, real["image"].rows)}
    one, two = (next(generate_pairs(model, x, 2, start="image", sampling=FEW, progress=False)) for x in (real, other))
    assert not np.array_equal(one.values["audio"], two.values["audio"]) and list(one.values) == ["audio"]


def test_real_samples_are_completed_only_where_copying_is_wanted(model: DenoisingMAE) -> None:
    real = noise_samples()
    with pytest.raises(UserError, match="copies real data"):
        make_plan(model, real, 2, start="samples")
    plan = make_plan(model, real, 2, 0.5, start="samples", paste_visible=True, sampling=FEW)
    batch = next(generate_pairs(model, real, 2, 0.5, paste_visible=True, start="samples", sampling=FEW, progress=False))
    for name, modality in model.modalities.items():
        source = modality.patchify(_tensor(real[name].values[plan.sources[name]]))
        kept = (modality.patchify(_tensor(batch.values[name])) - source).abs().amax(-1) < 0.01
        assert (kept.sum(1) == modality.tokens // 2).all()


def test_the_command_needs_no_data(command: Command, folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / "set"
    flags = ("--per-class", 2, "--steps", 2, "--seed", 7)
    assert command("generate", folder, *flags, "--out", out) == 0
    batch = next(mmgen.generate_pairs(folder, per_class=2, seed=7, sampling=Sampling(2), progress=False))
    spectrogram = np.load(out / "spectrograms" / LABELS[0] / "000000.npy")
    assert np.allclose(spectrogram, batch.values["audio"][0][0])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--from", "image"), "no real samples of 'image' to start from; give --images"),
        (("--from", "samples"), "copies real data; add --paste-visible"),
        (("--steps", 0), "1 to 1000 steps, not 0"),
        (("--guidance", "nan"), "from 0 to 100, not nan"),
        (("--guidance", -1), "from 0 to 100, not -1"),
        (("--images", "nowhere"), "no real samples here; leave out --images"),
        (("--mask-ratio", 0.5), "leave out --mask-ratio"),
        (("--choose-from", 5), "leave out --choose-from"),
        (("--segments", 2), "leave out --segments"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    command: Command, folder: Path, tmp_path: Path, flags: tuple[Any, ...], words: str, capsys: Any
) -> None:
    assert command("generate", folder, "--per-class", 1, *flags, "--out", tmp_path / "set") == 2
    message = capsys.readouterr().err.strip()
    assert words in message and "\n" not in message and not (tmp_path / "set").exists()


def test_a_model_without_a_denoising_decoder_draws_nothing_from_a_label() -> None:
    with pytest.raises(UserError, match=r"nothing from 'label': it has no denoising decoder"):
        make_plan(small_model(), noise_samples(), 2, start="label")


def test_a_label_that_the_model_does_not_know_is_refused(model: DenoisingMAE) -> None:
    with pytest.raises(UserError, match="2 labels, numbered from 0; there is no label 5"):
        model.sample(torch.tensor([0, 5]))


def _tensor(values: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
