from __future__ import annotations

import errno
import io
import json
import struct
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from decoded_samples import load_samples
from PIL import Image, ImageOps

from mmgen.data.decoded import Remark, UnusableFile
from mmgen.data.images import IMAGE_SUFFIXES, ImageSettings, decode_image
from mmgen.data.manifest import read_manifest
from mmgen.data.phantoms import phantom_xray
from mmgen.errors import UserError

GREY = ImageSettings(size=32, channels=1)
COLOUR = ImageSettings(size=32, channels=3)
RAMP = np.tile(np.linspace(0, 1, 32), (32, 1))  # (32, 32), 0 at the left, 1 at the right: nothing to resize
RAMP_8_BIT = np.rint(RAMP * 255).astype(np.uint8)


def read_image(path: Path, settings: ImageSettings) -> np.ndarray:
    """Pixels (C, H, W) of one file."""
    with open(path, "rb") as file:
        return decode_image(file, settings).values[0]


def save(folder: Path, image: Image.Image | np.ndarray, name: str = "x.png", **options: object) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / name, **options)
    return folder / name


def content(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes, settings: ImageSettings = GREY) -> np.ndarray:
    """(C, H, W)."""
    return decode_image(io.BytesIO(data), settings).values[0]


def refusal(data: bytes) -> str:
    with pytest.raises(UnusableFile) as error:
        decode_image(io.BytesIO(data), GREY)
    return str(error.value)


class TestSettings:
    def test_shape_and_json_round_trip(self):
        settings = ImageSettings(size=48, channels=3)
        assert settings.shape == (3, 48, 48)
        assert ImageSettings(**json.loads(json.dumps(asdict(settings)))) == settings

    @pytest.mark.parametrize("values", [{"size": 0}, {"size": 8193}, {"size": "%99d"}, {"channels": 4}])
    def test_impossible_settings_are_refused(self, values):
        with pytest.raises(UserError):
            ImageSettings(**values)


class TestDecode:
    @pytest.mark.parametrize("settings", [GREY, COLOUR])
    def test_values_and_remarks(self, settings):
        values, remarks = decode_image(io.BytesIO(content(RAMP_8_BIT)), settings)
        assert values.shape == (1, *settings.shape)
        assert values.dtype == np.uint8
        assert values.flags.writeable and values.flags.c_contiguous
        assert remarks == Remark.NONE

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
    def test_the_content_says_what_it_is(self, kind):
        options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
        data = content(RAMP_8_BIT, kind, **options)
        assert np.abs(decode(data)[0].astype(int) - RAMP_8_BIT).max() <= 2

    @pytest.mark.parametrize("size", [64, 500])
    @pytest.mark.parametrize(
        "image",
        [
            Image.new("L", (500, 400), 0),
            Image.new("RGB", (500, 400), (9, 200, 30)),
            Image.new("RGBA", (500, 400), (9, 200, 30, 0)),
            Image.fromarray(np.full((400, 500), 3001, np.uint16)),
            Image.fromarray(np.full((400, 500), 0.3, np.float32)),
            Image.new("1", (500, 400), 1),
        ],
        ids=lambda image: image.mode,
    )
    @pytest.mark.parametrize("channels", [1, 3])
    def test_one_single_value_is_blank(self, image, size, channels):
        kind = "TIFF" if image.mode == "F" else "PNG"
        assert decode_image(io.BytesIO(content(image, kind)), ImageSettings(size, channels)).remarks == Remark.BLANK

    def test_blank_is_about_colours_not_palette_entries(self):
        image = Image.new("P", (40, 40), 0)
        image.putpalette([7, 7, 7] * 256)
        image.paste(1, (0, 0, 20, 40))
        assert decode_image(io.BytesIO(content(image)), COLOUR).remarks == Remark.BLANK

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_what_is_cut_off_or_too_small_to_be_seen_is_not_blank(self, dtype):
        for row, column in ((50, 2), (50, 150)):
            values = np.zeros((100, 300), dtype)
            values[row, column] = 1
            assert decode_image(io.BytesIO(content(values)), ImageSettings(4)).remarks == Remark.NONE

    def test_nothing_of_pillow_is_changed_or_heard(self, tmp_path):
        (tmp_path / "x.jpg").write_bytes(content(RAMP_8_BIT, "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40))
        script = (
            "import sys; from PIL import Image; before = Image.MAX_IMAGE_PIXELS;"
            "from mmgen.data.images import ImageSettings, decode_image;"
            "decode_image(open(sys.argv[1], 'rb'), ImageSettings());"
            "assert Image.MAX_IMAGE_PIXELS == before"
        )
        run = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "x.jpg"], capture_output=True, text=True, check=True
        )
        assert run.stdout + run.stderr == ""


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

    @pytest.mark.parametrize("compression", [None, "tiff_lzw"])
    def test_tiff_whose_zero_is_white_is_inverted_at_any_depth(self, compression):
        for values in (RAMP_8_BIT, np.rint(RAMP * 65535).astype(np.uint16), RAMP.astype(np.float32)):
            data = content(values, "TIFF", compression=compression)
            place = data.index(struct.pack("<HHIH", 262, 3, 1, 1))  # one number, 1: zero is black
            negative = data[: place + 8] + struct.pack("<H", 0) + data[place + 10 :]
            assert np.abs(decode(negative)[0].astype(int) - (255 - RAMP_8_BIT)).max() <= 1

    def test_16_bit_with_the_high_byte_first(self):
        values = np.rint(RAMP * 65535).astype(np.uint16)
        data = content(values, "TIFF")
        little = struct.pack("<HHI", 273, 4, 1)  # where the pixels begin
        start = struct.unpack_from("<I", data, data.index(little) + 8)[0]
        tags = [(256, 32), (257, 32), (258, 16), (259, 1), (262, 1), (273, 200), (277, 1), (278, 32), (279, 2048)]
        entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
        big = b"MM\0*" + struct.pack(">IH", 8, len(tags)) + entries + bytes(4)
        big = big.ljust(200, b"\0") + np.frombuffer(data[start : start + 2048], "<u2").astype(">u2").tobytes()
        assert (decode(big) == decode(data)).all()

    @pytest.mark.parametrize("size", [5, 31, 48])
    def test_resized_16_bit_is_as_near_as_8_bit(self, size):
        xray = phantom_xray(0, np.random.default_rng(0), 96)
        deep = decode(content(xray.astype(np.uint16) * 257), ImageSettings(size))
        assert np.abs(deep.astype(int) - decode(content(xray), ImageSettings(size))).max() <= 2

    def test_resizing_does_not_leave_the_scale(self):
        stripes = np.tile(np.repeat(np.array([0, 255], np.uint8), 6), (24, 2))
        large = ImageSettings(100)  # bicubic interpolation overshoots at edges
        deep = decode(content(stripes // 255 * np.uint16(4095)), large)
        assert np.abs(deep.astype(int) - decode(content(stripes), large)).max() <= 1

    @pytest.mark.parametrize("values", [RAMP.astype(np.float32), (RAMP * 255).astype(np.float32)])
    def test_floats_of_unit_and_8_bit_range(self, tmp_path, values):
        assert np.abs(read_image(save(tmp_path, values, "x.tif"), GREY)[0].astype(int) - RAMP_8_BIT).max() <= 1

    @pytest.mark.parametrize("values", [RAMP - 0.5, RAMP * 1e6, np.where(RAMP > 0.5, np.nan, RAMP), RAMP * np.nan])
    def test_floats_without_a_known_scale_are_refused(self, tmp_path, values):
        with pytest.raises(UnusableFile, match=r"finite|full scale"):
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

    def test_cmyk_jpeg(self):
        image = Image.new("RGB", (32, 32), (200, 100, 50))
        data = content(image.convert("CMYK"), "JPEG", quality=95)
        assert np.abs(decode(data, COLOUR)[:, 5, 5].astype(int) - (200, 100, 50)).max() <= 3

    def test_palette(self):
        image = Image.new("P", (32, 32), 1)
        image.putpalette([0, 0, 0, 200, 100, 50])
        assert decode(content(image), COLOUR)[:, 5, 5].tolist() == [200, 100, 50]
        assert decode(content(image, "GIF"), COLOUR)[:, 5, 5].tolist() == [200, 100, 50]

    @pytest.mark.parametrize("settings", [GREY, COLOUR])
    @pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
    def test_half_transparent_is_half_as_bright(self, mode, settings):
        if mode == "P":
            image = Image.new("P", (32, 32), 1)
            image.putpalette([0, 0, 0, 200, 200, 200])
            data = content(image, transparency=bytes([255, 128]))
        else:
            data = content(Image.new(mode, (32, 32), (200, 128) if mode == "LA" else (200, 200, 200, 128)))
        assert np.abs(decode(data, settings).astype(int) - 100).max() <= 1

    @pytest.mark.parametrize("mode", ["1", "L", "RGB"])
    def test_a_shade_declared_transparent_is_black(self, mode):
        image = Image.new(mode, (32, 32), (255, 255, 255) if mode == "RGB" else 255)
        data = content(image, transparency=(255, 255, 255) if mode == "RGB" else 1 if mode == "1" else 255)
        assert (decode(data) == 0).all()

    def test_a_colour_model_without_a_conversion_is_named(self):
        lab = Image.new("LAB", (32, 32))
        assert refusal(content(lab, "TIFF")) == "its colour model LAB is not supported: save it as RGB or grey"


class TestGeometry:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("options", [{"quality": 90}, {"quality": 90, "progressive": True}])
    def test_a_large_jpeg_that_is_shrunk_as_it_is_decoded_looks_the_same(self, channels, options):
        xray = Image.fromarray(phantom_xray(1, np.random.default_rng(1), 700))
        image = Image.merge("RGB", [xray, xray.rotate(90), xray.rotate(180)]) if channels == 3 else xray
        data = content(image, "JPEG", **options)
        whole = Image.open(io.BytesIO(data)).convert("RGB" if channels == 3 else "L")
        wanted = np.asarray(ImageOps.fit(whole, (50, 50), Image.Resampling.BICUBIC)).reshape(50, 50, channels)
        difference = np.abs(decode(data, ImageSettings(50, channels)).transpose(1, 2, 0).astype(int) - wanted)
        assert difference.mean() < 0.5 and difference.max() <= 3

    def test_a_large_png_looks_as_when_resized_in_one_step(self):
        xray = phantom_xray(1, np.random.default_rng(1), 700)
        wanted = np.asarray(ImageOps.fit(Image.fromarray(xray), (50, 50), Image.Resampling.BICUBIC))
        difference = np.abs(decode(content(xray), ImageSettings(50))[0].astype(int) - wanted)
        assert difference.mean() < 0.5 and difference.max() <= 3

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
    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation_tag_is_applied(self, depth, kind, orientation):
        exif = Image.Exif()
        exif[274] = orientation
        values = np.rint(RAMP * RAMP[:, ::-1].T * np.iinfo(depth).max).astype(depth)
        wanted = decode(content(values))[0].astype(int)
        turned = (np.array, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, np.transpose, lambda a: np.rot90(a, -1))
        turned += (lambda a: np.rot90(a, 2).T, np.rot90)
        upright = decode(content(values, kind, exif=exif))[0]
        assert np.abs(upright - turned[orientation - 1](wanted)).max() <= 1

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    def test_a_damaged_note_on_orientation_does_not_spoil_the_picture(self):
        data = content(RAMP_8_BIT, "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40, quality=100)
        assert np.abs(decode(data)[0].astype(int) - RAMP_8_BIT).max() <= 2
        data = content(RAMP_8_BIT, "JPEG", exif=b"Exif\0\0no TIFF", quality=100)
        assert np.abs(decode(data)[0].astype(int) - RAMP_8_BIT).max() <= 2

    @pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG", "TIFF"])
    def test_first_frame_of_an_animation(self, kind):
        frames = [Image.new("RGB", (32, 32), (level,) * 3) for level in (10, 200, 90)]
        options = {"lossless": True} if kind == "WEBP" else {}
        data = content(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (decode(data) == 10).all()


class TestDamage:
    """What the user reads about a file that cannot be used."""

    def test_each_damage_is_one_clause(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        whole, jpeg = content(noise), content(noise, "JPEG")
        damaged = {
            "half.png": (whole[: len(whole) // 2], "damaged: image file is truncated"),
            "half.jpg": (jpeg[: len(jpeg) // 2], "damaged: image file is truncated"),
            "empty.png": (b"", "the file is empty"),
            "text.png": (b"this is no image", "not an image of a known format"),
            "sound.png": (b"RIFF\x24\0\0\0WAVEfmt ", "not an image of a known format"),
            "hole.png": (whole[:60] + bytes(40) + whole[100:], "damaged: broken data stream"),
            "zeros.png": (bytes(500), "not an image of a known format"),
            "Röntgen 胸部.png": (whole[:50], "damaged: "),
        }
        for name, (data, reason) in damaged.items():
            (tmp_path / name).write_bytes(data)
            with pytest.raises(UnusableFile) as error:
                read_image(tmp_path / name, GREY)
            told = str(error.value)
            assert told.startswith(reason) and not told.endswith("."), told
            assert "\n" not in told and "object at 0x" not in told

    def test_the_ending_of_the_name_does_not_matter(self, tmp_path):
        (tmp_path / "really a PNG.jpg").write_bytes(content(RAMP_8_BIT))
        assert (read_image(tmp_path / "really a PNG.jpg", GREY) == RAMP_8_BIT).all()

    def test_a_decoder_may_fail_in_any_way(self, monkeypatch):
        for error, reason in (
            (MemoryError(), "it needs more memory than there is"),
            (RecursionError("deep"), "damaged"),
            (KeyError("17"), "damaged"),
            (ValueError("on two\nlines."), "damaged: on two lines"),
            (OSError(errno.EIO, "Input/output error"), "input/output error"),
        ):

            def fail(*args, error=error):
                raise error

            monkeypatch.setattr("mmgen.data.images.open_picture", fail)
            assert refusal(b"anything") == reason


class TestManyImages:
    def test_order_is_the_manifests(self, tmp_path):
        (tmp_path / "a").mkdir()
        for level in range(80):
            save(tmp_path / "a", RAMP_8_BIT // 2 + level, f"{level:02d}.png")
        images = load_samples(read_manifest(tmp_path, IMAGE_SUFFIXES), GREY).values[:]
        assert (np.diff(images.reshape(80, -1).astype(int), axis=0) == 1).all()

    def test_unreadable_files_are_named_together(self, tmp_path):
        (tmp_path / "a").mkdir()
        save(tmp_path / "a", RAMP_8_BIT, "good.png")
        for index in range(40):
            (tmp_path / "a" / f"bad{index:02d}.png").write_bytes(b"")
        with pytest.raises(UserError, match=r"40 files .*bad00.png \(.*bad04.png \(.*\) and 35 more") as error:
            load_samples(read_manifest(tmp_path, IMAGE_SUFFIXES), GREY)
        assert "bad05.png" not in str(error.value)

    def test_real_x_rays(self, real_data):
        manifest = read_manifest(real_data / "cxr", IMAGE_SUFFIXES).select(np.arange(0, 442, 20))
        images = load_samples(manifest, ImageSettings(64)).values[:]
        assert images.shape == (23, 1, 64, 64)
        assert (images.std(axis=(1, 2, 3)) > 10).all(), "every image shows something"
