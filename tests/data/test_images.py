from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmgen.data.files import LocalFiles
from mmgen.data.images import IMAGE_SUFFIXES, ImageSettings, read_image, read_images
from mmgen.data.manifest import Manifest, read_manifest
from mmgen.errors import UserError

GREY = ImageSettings(size=32, channels=1)
COLOUR = ImageSettings(size=32, channels=3)
RAMP = np.tile(np.linspace(0, 1, 32), (32, 1))  # (32, 32), 0 at the left, 1 at the right: nothing to resize
RAMP_8_BIT = np.rint(RAMP * 255).astype(np.uint8)


def save(folder: Path, image: Image.Image | np.ndarray, name: str = "x.png", **options: object) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / name, **options)
    return folder / name


def manifest_of(folder: Path, names: list[str]) -> Manifest:
    return Manifest(LocalFiles(folder), names, np.zeros(len(names), dtype=np.int64), ("a",))


class TestSettings:
    def test_shape_and_json_round_trip(self):
        settings = ImageSettings(size=48, channels=3)
        assert settings.shape == (3, 48, 48)
        assert ImageSettings(**json.loads(json.dumps(asdict(settings)))) == settings

    @pytest.mark.parametrize("values", [{"size": 0}, {"channels": 4}])
    def test_impossible_settings_are_refused(self, values):
        with pytest.raises(UserError):
            ImageSettings(**values)


class TestDepth:
    def test_8_bit_of_the_right_size_is_returned_as_it_is(self, tmp_path):
        image = read_image(save(tmp_path, RAMP_8_BIT), GREY)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert (image == RAMP_8_BIT).all()

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    @pytest.mark.parametrize("full_scale", [65535, 4095, 255])
    def test_16_bit_files_by_the_depth_they_use(self, tmp_path, suffix, full_scale):
        path = save(tmp_path, np.rint(RAMP * full_scale).astype(np.uint16), f"x.{suffix}")
        assert np.abs(read_image(path, GREY)[0].astype(int) - RAMP_8_BIT).max() <= 1

    def test_16_bit_is_not_stretched(self, tmp_path):
        path = save(tmp_path, np.full((32, 32), 257 * 40, dtype=np.uint16))
        assert (read_image(path, GREY) == 40).all()

    @pytest.mark.parametrize("values", [RAMP.astype(np.float32), (RAMP * 255).astype(np.float32)])
    def test_floats_of_unit_and_8_bit_range(self, tmp_path, values):
        assert np.abs(read_image(save(tmp_path, values, "x.tif"), GREY)[0].astype(int) - RAMP_8_BIT).max() <= 1

    @pytest.mark.parametrize("values", [RAMP - 0.5, RAMP * 1e6, np.where(RAMP > 0.5, np.nan, RAMP), RAMP * np.nan])
    def test_floats_without_a_known_scale_are_refused(self, tmp_path, values):
        with pytest.raises(UserError, match=r"x\.tif"):
            read_image(save(tmp_path, values.astype(np.float32), "x.tif"), GREY)


class TestColour:
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
    @pytest.mark.parametrize("settings", [GREY, COLOUR])
    def test_every_colour_model_gives_the_settings_shape(self, tmp_path, mode, settings):
        white = Image.new("L", (40, 50), 255)
        image = white if mode in ("I;16", "F") else white.convert("RGB")
        image = Image.fromarray(np.full((50, 40), 65535, dtype=np.uint16)) if mode == "I;16" else image.convert(mode)
        pixels = read_image(save(tmp_path, image, "x.png" if mode in ("P", "LA", "RGBA") else "x.tif"), settings)
        assert pixels.shape == settings.shape
        assert (pixels == 255).all()

    def test_colour_is_kept_and_its_channels_come_first(self, tmp_path):
        path = save(tmp_path, Image.new("RGB", (32, 32), (200, 100, 50)))
        assert read_image(path, COLOUR)[:, 5, 5].tolist() == [200, 100, 50]
        assert read_image(path, GREY)[0, 5, 5] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)

    def test_grey_read_as_rgb_repeats_itself(self, tmp_path):
        image = read_image(save(tmp_path, RAMP_8_BIT), COLOUR)
        assert (image == RAMP_8_BIT).all()

    def test_transparency_is_laid_on_black(self, tmp_path):
        rgba = np.full((32, 32, 4), 255, dtype=np.uint8)
        rgba[:, :16, 3] = 0
        image = read_image(save(tmp_path, rgba), GREY)
        assert (image[0, :, :16] == 0).all()
        assert (image[0, :, 16:] == 255).all()

    def test_transparent_palette_entry_is_black(self, tmp_path):
        image = Image.new("P", (32, 32), 0)
        image.putpalette([255, 255, 255] * 256)
        assert (read_image(save(tmp_path, image, transparency=0), GREY) == 0).all()


class TestGeometry:
    @pytest.mark.parametrize("size", [(96, 64), (64, 96), (20, 16), (300, 40)])
    def test_centre_is_kept_and_sides_are_cut(self, tmp_path, size):
        width, height = size
        pixels = np.zeros((height, width), dtype=np.uint8)
        side = min(size)
        pixels[(height - side) // 2 :, (width - side) // 2 :][:side, :side] = 255
        assert read_image(save(tmp_path, pixels), GREY).mean() > 250, "the bright centre square fills the image"

    @pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)])
    def test_slivers_are_images_too(self, tmp_path, size):
        assert (read_image(save(tmp_path, Image.new("L", size, 90)), COLOUR) == 90).all()

    def test_aspect_is_kept(self, tmp_path):
        y, x = np.mgrid[:120, :180]
        disc = (((x - 90) ** 2 + (y - 60) ** 2) < 40**2).astype(np.uint8) * 255
        image = read_image(save(tmp_path, disc), GREY)[0] > 127
        assert abs(int(image.any(axis=0).sum()) - int(image.any(axis=1).sum())) <= 1

    def test_shrinking_averages_instead_of_skipping(self, tmp_path):
        stripes = np.tile(np.array([0, 255], dtype=np.uint8), (256, 128))
        image = read_image(save(tmp_path, stripes), GREY)
        assert np.abs(image.astype(int) - 127).max() <= 12

    def test_left_stays_left(self, tmp_path):
        image = read_image(save(tmp_path, np.repeat(np.repeat(RAMP_8_BIT, 3, 0), 3, 1)), GREY)[0].astype(int)
        assert (np.diff(image, axis=1) >= 0).all()

    @pytest.mark.parametrize("depth", [np.uint8, np.uint16])
    def test_orientation_tag_is_applied(self, tmp_path, depth):
        exif = Image.Exif()
        exif[274] = 6  # stored lying: turn by 90 degrees clockwise to show it
        values = np.rint(RAMP * np.iinfo(depth).max).astype(depth)
        upright = read_image(save(tmp_path, values, exif=exif), GREY)[0]
        assert np.abs(upright.astype(int) - np.rot90(RAMP_8_BIT, -1)).max() <= 1

    def test_first_frame_of_an_animation(self, tmp_path):
        frames = [Image.new("RGB", (32, 32), (level,) * 3) for level in (10, 200)]
        path = save(tmp_path, frames[0], "x.webp", save_all=True, append_images=frames[1:], lossless=True)
        assert (read_image(path, GREY) == 10).all()


class TestDamage:
    def test_each_damage_is_one_sentence_with_the_name(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        whole = save(tmp_path, noise, "whole.png").read_bytes()
        jpeg = save(tmp_path, noise, "whole.jpg").read_bytes()
        damaged = {
            "half.png": whole[: len(whole) // 2],
            "half.jpg": jpeg[: len(jpeg) // 2],
            "empty.png": b"",
            "text.png": b"this is no image",
            "hole.png": whole[:60] + bytes(40) + whole[100:],
        }
        for name, content in damaged.items():
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match=f"{name} cannot be read as an image .*repair it or remove it"):
                read_image(tmp_path / name, GREY)
        with pytest.raises(UserError, match=r"gone.png .*no such file"):
            read_image(tmp_path / "gone.png", GREY)

    def test_decompression_bomb(self, tmp_path, monkeypatch):
        path = save(tmp_path, np.zeros((100, 100), dtype=np.uint8))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
        with pytest.raises(UserError, match="bomb"):
            read_image(path, GREY)


class TestReadImages:
    def test_order_is_the_manifests_whatever_the_number_of_workers(self, tmp_path):
        names = [f"{level}.png" for level in range(80)]
        for level, name in enumerate(names):
            save(tmp_path, np.full((40, 40), level, dtype=np.uint8), name)
        for workers in (1, 3):
            images = read_images(manifest_of(tmp_path, names), GREY, workers=workers, progress=False)
            assert images.shape == (80, *GREY.shape)
            assert images.dtype == np.uint8
            assert (images == np.arange(80).reshape(-1, 1, 1, 1)).all()

    def test_unreadable_files_are_named_together(self, tmp_path):
        save(tmp_path, RAMP_8_BIT, "good.png")
        for index in range(40):
            (tmp_path / f"bad{index}.png").write_bytes(b"")
        names = ["good.png", *(f"bad{index}.png" for index in range(40)), "good.png"]
        with pytest.raises(UserError, match=r"40 of 42 images .*bad0.png \(.*bad4.png \(.*\) and 35 more") as error:
            read_images(manifest_of(tmp_path, names), GREY, progress=False)
        assert "bad5.png" not in str(error.value)

    def test_nothing_to_read(self, tmp_path):
        assert read_images(manifest_of(tmp_path, []), COLOUR, progress=False).shape == (0, *COLOUR.shape)

    def test_real_x_rays(self, real_data):
        manifest = read_manifest(real_data / "cxr", IMAGE_SUFFIXES).select(np.arange(0, 442, 20))
        images = read_images(manifest, ImageSettings(64), progress=False)
        assert images.shape == (23, 1, 64, 64)
        assert (images.std(axis=(1, 2, 3)) > 10).all(), "every image shows something"
