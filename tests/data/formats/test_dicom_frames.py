from __future__ import annotations

import struct
import sys

import numpy as np
import pytest

from mmgen.data.images import ImageSettings
from mmgen.data.phantoms import phantom_xray

pytest.importorskip("pydicom")

from dicom_files import (
    COLOUR,
    RAMP_8_BIT,
    RGB,
    compressed,
    dataset,
    decode,
    dicom,
    difference,
    encoded,
    jpeg_ls,
    lossless_jpeg,
    refusal,
    written,
)
from pydicom import uid


class TestCompression:
    XRAY = phantom_xray(0, np.random.default_rng(0), 96)[:, 3:96]  # of an odd width
    DEEP = XRAY.astype(np.uint16) << 4
    SETTINGS = ImageSettings(93)

    def wanted(self, values: np.ndarray, *args: object) -> np.ndarray:
        return decode(dicom(values, *args), self.SETTINGS)

    @pytest.mark.parametrize("values", [XRAY, DEEP], ids=["8 bits", "12 bits"])
    def test_run_lengths(self, values):
        stored = 12 if values.itemsize == 2 else 8
        data = dataset(values, "MONOCHROME2", stored)
        data.compress(uid.RLELossless)
        assert (decode(written(data), self.SETTINGS) == self.wanted(values, "MONOCHROME2", stored)).all()

    def test_run_lengths_across_lines(self):
        frame = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x07" * 8  # 128 times 7, four lines each
        values = np.full((32, 32), 7, np.uint8)
        assert (decode(compressed(frame, uid.RLELossless, values)) == 7).all()

    def test_run_lengths_in_colour(self):
        data = dataset(RGB, "RGB")
        data.compress(uid.RLELossless)
        assert (decode(written(data), COLOUR) == RGB).all()

    def test_jpeg(self):
        content = compressed(encoded(self.XRAY, "JPEG", quality=98), uid.JPEGBaseline8Bit, self.XRAY, "MONOCHROME1")
        assert difference(decode(content, self.SETTINGS), self.wanted(self.XRAY, "MONOCHROME1")) <= 4

    @pytest.mark.parametrize("colours", ["YBR_FULL_422", "RGB"])
    def test_jpeg_in_colour(self, colours):
        flat = np.full_like(RGB, (200, 100, 50))
        frame = encoded(flat, "JPEG", quality=98)  # says that it is YCbCr, which goes before what DICOM says
        assert difference(decode(compressed(frame, uid.JPEGBaseline8Bit, flat, colours), COLOUR), flat) <= 3

    def test_jpeg_of_rgb_that_does_not_say_so(self):
        flat = np.full_like(RGB, (200, 100, 50))
        frame = encoded(flat, "JPEG", quality=98, keep_rgb=True)
        start = frame.index(b"\xff\xee")  # Adobe's mark, which says that it is RGB
        frame = frame[:start] + frame[start + 16 :]
        for name, number in zip((b"R\x11", b"G\x11", b"B\x11"), (b"\1\x11", b"\2\x11", b"\3\x11"), strict=True):
            frame = frame.replace(name, number)  # in the frame's header
        for name, number in zip((b"R\0", b"G\0", b"B\0"), (b"\1\0", b"\2\0", b"\3\0"), strict=True):
            frame = frame.replace(name, number)  # in the scan's
        assert difference(decode(compressed(frame, uid.JPEGBaseline8Bit, flat, "RGB"), COLOUR), flat) <= 3

    @pytest.mark.parametrize("size", [93, 24])
    def test_jpeg2000(self, size):
        frame = encoded(self.DEEP << 4, "JPEG2000", no_jp2=True)
        content = compressed(frame, uid.JPEG2000Lossless, self.DEEP << 4, "MONOCHROME2", 16)
        wanted = decode(dicom(self.DEEP << 4, "MONOCHROME2", 16), ImageSettings(size))
        assert np.abs(decode(content, ImageSettings(size)).astype(int) - wanted).mean() <= (0 if size == 93 else 1)

    def test_signed_jpeg2000(self):
        values = (self.DEEP << 4).astype(int) - 32768
        typed = values.astype(np.int16)
        frame = encoded(typed.view(np.uint16), "JPEG2000", no_jp2=True)  # the bits, which JPEG 2000 takes for unsigned
        content = compressed(frame, uid.JPEG2000Lossless, typed, "MONOCHROME2", 16)
        assert (decode(content, self.SETTINGS) == self.wanted(typed, "MONOCHROME2", 16)).all()
        frame = bytearray(encoded(self.DEEP << 4, "JPEG2000", no_jp2=True))
        assert frame[42] == 15  # 16 bits, unsigned, from whose middle JPEG 2000 counts
        frame[42] |= 0x80
        content = compressed(bytes(frame), uid.JPEG2000Lossless, typed, "MONOCHROME2", 16)
        assert (decode(content, self.SETTINGS) == self.wanted(typed, "MONOCHROME2", 16)).all()

    def test_large_jpeg2000_is_halved(self):
        large = np.kron(RAMP_8_BIT, np.ones((20, 20), np.uint8))
        frame = encoded(large, "JPEG2000", no_jp2=True)
        content = compressed(frame, uid.JPEG2000, large)
        assert np.abs(decode(content).astype(int) - decode(dicom(large))).mean() < 1

    def test_jpeg2000_in_colour(self):
        frame = encoded(RGB, "JPEG2000", no_jp2=True, mct=1)
        assert difference(decode(compressed(frame, uid.JPEG2000Lossless, RGB, "YBR_RCT"), COLOUR), RGB) == 0

    @pytest.mark.parametrize(("values", "stored"), [(XRAY, 8), (DEEP, 12)], ids=["8 bits", "12 bits"])
    @pytest.mark.parametrize("signed", [False, True])
    def test_lossless_jpeg(self, values, stored, signed):
        pytest.importorskip("av")
        frame = lossless_jpeg(values)
        typed = values.astype(f"i{values.itemsize}") if signed else values
        content = compressed(frame, uid.JPEGLosslessSV1, typed, "MONOCHROME2", stored)
        if signed:  # two's complement of the stored bits
            whole = values.astype(int)
            typed = np.where(whole < 1 << stored - 1, whole, whole - (1 << stored)).astype(typed.dtype)
        assert (decode(content, self.SETTINGS) == self.wanted(typed, "MONOCHROME2", stored)).all()

    @pytest.mark.parametrize("colours", ["RGB", "YBR_FULL"])
    def test_lossless_jpeg_in_colour(self, colours):
        pytest.importorskip("av")
        content = compressed(lossless_jpeg(RGB), uid.JPEGLossless, RGB, colours)
        assert (decode(content, COLOUR) == decode(dicom(RGB, colours), COLOUR)).all()

    def test_lossless_jpeg_whose_first_pixel_is_black(self):
        pytest.importorskip("av")
        for black in (0, 0x7FFF):  # no other values begin with the largest difference, or with the next to it
            values = self.DEEP.copy()
            values[0, 0] = black
            for length in (5, 8, 12):
                frame = lossless_jpeg(values, length)
                content = compressed(frame, uid.JPEGLosslessSV1, values, "MONOCHROME2", 16)
                assert (decode(content, self.SETTINGS) == self.wanted(values, "MONOCHROME2", 16)).all()

    def test_jpeg_ls(self):
        pytest.importorskip("av")
        content = compressed(jpeg_ls(self.DEEP << 4), uid.JPEGLSLossless, self.DEEP << 4, "MONOCHROME2", 16)
        assert (decode(content, self.SETTINGS) == self.wanted(self.DEEP << 4, "MONOCHROME2", 16)).all()

    def test_damage_to_lossless_jpeg_gives_no_half_of_a_picture(self):
        pytest.importorskip("av")
        frame = lossless_jpeg(self.XRAY)
        assert refusal(compressed(frame[: len(frame) // 2], uid.JPEGLosslessSV1, self.XRAY)) == "damaged DICOM file"

    def test_what_cannot_be_read_says_what_to_install(self, monkeypatch):
        content = compressed(lossless_jpeg(self.XRAY), uid.JPEGLosslessSV1, self.XRAY)
        monkeypatch.setitem(sys.modules, "av", None)
        assert refusal(content).startswith("it is compressed as JPEG Lossless")
        assert refusal(content).endswith("which needs PyAV: pip install 'mmgen[dicom]'")
        monkeypatch.setitem(sys.modules, "pydicom", None)
        assert refusal(content) == "DICOM needs pydicom: pip install 'mmgen[dicom]'"

    @pytest.mark.parametrize(
        ("syntax", "reason"),
        [
            (uid.MPEG4HP41, "it is compressed as MPEG-4 AVC"),
            (uid.HTJ2KLossless, "it is compressed as High-Throughput JPEG 2000"),
            (uid.JPEGExtended12Bit, "it is compressed as 12-bit JPEG, which cannot be read: save it uncompressed"),
        ],
    )
    def test_what_nothing_reads(self, syntax, reason):
        frame = bytearray(encoded(self.XRAY, "JPEG"))
        frame[frame.index(b"\xff\xc0") + 4] = 12  # bits
        assert refusal(compressed(bytes(frame), syntax, self.XRAY)).startswith(reason)
