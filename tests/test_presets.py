from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmgen.cli.condensation_flags import CondensationFlags
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.loading import are_grey, prepare
from mmgen.data.overview import Source
from mmgen.data.phantoms import write_phantom_images
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings, settings_from_dict
from mmgen.errors import UserError
from mmgen.models.modality import Modality
from mmgen.presets import PRESETS, build_mae, fitted_to, image_settings


def fake_samples(settings: Settings, count: int = 4) -> Samples:
    rng = np.random.default_rng(0)
    if isinstance(settings, ImageSettings):
        values = rng.integers(0, 256, (count, *settings.shape), dtype=np.uint8)
    else:
        values = rng.uniform(settings.log_floor, 4.0, (count, *settings.shape)).astype(np.float16)
    return Samples(values, np.arange(count) % 2, ("covid", "healthy"), np.arange(count))


@pytest.mark.parametrize("name", ["base", "paper"])
def test_token_counts_allow_the_printed_orientation(name):
    preset = PRESETS[name]
    image = Modality("image", preset.image.shape, (preset.image_patch,) * 2)
    audio = Modality("audio", preset.audio.shape, (preset.audio_patch,) * 2, pad_to=(preset.audio_padded,) * 2)
    assert image.tokens == audio.tokens


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_widths_can_be_shared_out(preset):
    assert preset.dim % preset.heads == preset.decoder_dim % preset.decoder_heads == 0
    assert preset.dim % 4 == preset.decoder_dim % 4 == 0


def test_paper_is_the_papers():
    paper = PRESETS["paper"]
    assert (paper.epochs, paper.batch_size, paper.lr, paper.betas) == (20, 128, 1e-3, (0.9, 0.999))
    assert (paper.image.size, paper.fusion_query) == (224, "other")
    assert (paper.audio.n_mels, paper.audio.frames, paper.audio.segment_frames) == (100, 400, 100)
    assert (paper.audio.win_length, paper.audio.hop_length) == (400, 160)  # 25 ms and 10 ms at 16 kHz


@pytest.mark.parametrize("query", [None, "own", "other"])
def test_a_model_knows_its_data(query):
    preset = replace(PRESETS["tiny"], dim=16, depth=1, heads=2, decoder_dim=16, decoder_depth=1, decoder="mse")
    preset = replace(preset, audio_patch=14)  # as many tokens as the image has
    settings = {"image": preset.image, "audio": preset.audio}
    train = {name: fake_samples(values) for name, values in settings.items()}
    model = build_mae(preset, settings, train, query)
    assert model.class_names == ("covid", "healthy")
    assert {name: settings_from_dict(values) for name, values in model.preprocessing.items()} == settings
    assert model.config["fusion_query"] == (query or preset.fusion_query)
    for name, modality in model.modalities.items():
        normal = modality.normalise(torch.from_numpy(train[name].values))
        assert normal.mean() == pytest.approx(0.0, abs=1e-3)
        assert normal.std() == pytest.approx(1.0, abs=1e-3)
        assert modality.value_range[0] <= train[name].values.min()
        assert modality.value_range[1] >= train[name].values.max()
    assert model.modalities["image"].value_range == (0.0, 255.0)
    losses = model({name: torch.from_numpy(samples.values[:2]) for name, samples in train.items()})
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_constant_data_cannot_be_normalised():
    preset = PRESETS["tiny"]
    constant = replace(fake_samples(preset.image), values=np.full((4, *preset.image.shape), 7, np.uint8))
    with pytest.raises(UserError, match=r"'image': std must be positive.*constant"):
        build_mae(preset, {"image": preset.image}, {"image": constant})


def test_settings_of_audio_are_shared_by_no_one():
    assert AudioSettings() == PRESETS["tiny"].audio == PRESETS["paper"].audio


# -- images to condense


def source_of(path: Path) -> Source:
    return Source(path, ImageSettings(64, 3))


def test_channels_and_augmentation_are_those_of_the_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    brains = write_phantom_images(tmp_path / "brains", "brains", subjects_per_class=10, image_size=32)
    lesions = write_phantom_images(tmp_path / "lesions", "lesions", subjects_per_class=10, image_size=32)
    flags = CondensationFlags()
    grey, colour = fitted_to(flags, source_of(brains)), fitted_to(flags, source_of(lesions))
    assert (grey.channels, grey.augmentation) == (1, "radiograph")
    assert (colour.channels, colour.augmentation) == (3, "lesion")
    assert "--channels 1 --augmentation radiograph" in caplog.text
    # Grey pictures are often stored as RGB.
    for path in brains.rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    assert fitted_to(flags, source_of(brains)).channels == 1
    caplog.clear()
    given = replace(flags, channels=3, augmentation="none")
    assert fitted_to(given, source_of(brains)) == given and not caplog.text


def test_images_without_any_that_can_be_read_are_left_to_the_reader(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(9):
            (tmp_path / label / f"broken{number}.png").write_bytes(b"nothing")
    assert not are_grey(source_of(tmp_path))
    with pytest.raises(UserError, match="broken"):
        prepare({"image": source_of(tmp_path)})


def test_the_form_of_images_is_the_budgets_if_no_other_is_given() -> None:
    assert image_settings("small") == ImageSettings(64, 3)
    assert image_settings("small", 32, 1) == ImageSettings(32, 1)
    for side in (0, 40):
        with pytest.raises(UserError, match="multiple of 16"):
            image_settings("quick", side)
