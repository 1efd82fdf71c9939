"""What flags of condensation mean for the images at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmgen.cli.condensation_flags import CondensationFlags
from mmgen.data.phantoms import write_phantom_images
from mmgen.errors import UserError


def test_channels_and_augmentation_are_those_of_the_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    brains = write_phantom_images(tmp_path / "brains", "brains", subjects_per_class=10, image_size=32)
    lesions = write_phantom_images(tmp_path / "lesions", "lesions", subjects_per_class=10, image_size=32)
    flags = CondensationFlags()
    grey, colour = flags.fitted_to(brains), flags.fitted_to(lesions)
    assert (grey.channels, grey.augmentation, grey.images.channels) == (1, "radiograph", 1)
    assert (colour.channels, colour.augmentation, colour.images.channels) == (3, "lesion", 3)
    assert "--channels 1 --augmentation radiograph" in caplog.text
    # Grey pictures are often stored as RGB.
    for path in brains.rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    assert flags.fitted_to(brains).channels == 1
    caplog.clear()
    given = replace(flags, channels=3, augmentation="none")
    assert given.fitted_to(brains) == given and not caplog.text


def test_images_without_any_that_can_be_read_are_left_to_the_reader(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(9):
            (tmp_path / label / f"broken{number}.png").write_bytes(b"nothing")
    assert CondensationFlags().fitted_to(tmp_path).channels == 3
    with pytest.raises(UserError, match="broken"):
        CondensationFlags().read(tmp_path, tmp_path / "out")


def test_settings_of_medsynth_are_not_for_other_methods() -> None:
    flags = CondensationFlags(mask_weight=0.5, seed=3)
    assert flags.settings_of("medsynth", 1).gan.mask_weight == 0.5
    with pytest.raises(UserError, match="--mask-weight are settings of MedSynth, not of dm"):
        flags.settings_of("dm", 1)
    assert replace(flags, mask_weight=0.0).settings_of("dm", 4).images_per_class == 4
