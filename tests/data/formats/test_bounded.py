"""What a file may cost is checked before it is decoded: small files that ask for much are refused in no time."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from mutate import deflated_zeros, png, png_bombs, png_chunk
from PIL import Image

from mmgen.data.decoded import UnusableFile
from mmgen.data.formats.bounded import (
    MAX_PIXELS,
    Metered,
    jpeg_segments,
    open_jpeg,
    open_picture,
)
from mmgen.data.images import ImageSettings, decode_image


def tiff(width: int, height: int, data: bytes = bytes(100), **tags: list[int]) -> bytes:
    """A grey 8-bit TIFF with its data at offset 8; ``t273=[8]`` sets a tag."""
    values = {256: [width], 257: [height], 258: [8], 259: [1], 262: [1], 277: [1]}
    values |= {int(name[1:]): numbers for name, numbers in tags.items()}
    entries, beyond = b"", b""
    start = 8 + len(data)
    behind = start + 2 + 12 * len(values) + 4
    for tag, numbers in sorted(values.items()):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        place = packed if len(numbers) == 1 else struct.pack("<I", behind + len(beyond))
        beyond += packed if len(numbers) > 1 else b""
        entries += struct.pack("<HHI", tag, 4, len(numbers)) + place
    return b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(values)) + entries + bytes(4) + beyond


def bmp(width: int, height: int, bits: int, compression: int, data: bytes) -> bytes:
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 4 * 2**bits) + sizes + bytes(4 * 2**bits) + data


def gif(width: int, height: int, before: bytes = b"") -> bytes:
    return (
        b"GIF89a" + struct.pack("<HH3x", width, height) + before + struct.pack("<cHHHHB", b",", 0, 0, width, height, 0)
    )


def jpeg(scans: int = 1, size: tuple[int, int] | None = None, segment: bytes = b"", progressive: bool = True) -> bytes:
    file = io.BytesIO()
    Image.new("L", (64, 64), 90).save(file, "JPEG", progressive=progressive)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    data = data[:2] + segment + data[2:-2] + data[last:-2] * (scans - 1) + b"\xff\xd9"
    if size:
        start = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
        data = data[:start] + struct.pack(">HH", *size[::-1]) + data[start + 4 :]
    return data


def webp(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    file = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), (level, 0, 0)) for level in (9, 99)]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    data = file.getvalue()
    return data[:24] + sizes + data[30:]


ZIPPED = zlib.compress(bytes(1 << 20))
SAME = dict(t259=[8], t278=[1])
HOSTILE = {
    "PNG of 1.2 gigapixels": (png_bombs()[0], "it has 40000 x 30000 pixels, more than the 40 megapixels"),
    "PNG of 16 bits in four channels": (png(6_000, 6_000, 16, 6, b""), "it has 6000 x 6000 pixels of 8 bytes, more"),
    "PNG with text that inflates": (png_bombs()[5], "damaged: Decompressed data too large"),
    "PNG with many texts": (png_bombs()[6], "it has too many or too large PNG chunks"),
    "PNG with many colour profiles": (png_bombs()[8], "it has too many or too large PNG chunks"),
    "PNG with many colour profiles at the end": (png_bombs()[9], "it has too many or too large PNG chunks"),
    "PNG in a million pieces": (png_bombs()[11], "it has too many or too large PNG chunks"),
    "PNG with a large private chunk": (
        png(9, 9, 8, 0, ZIPPED, png_chunk(b"prVt", bytes(20_000_000))),
        "it has too many or too large PNG chunks",
    ),
    "JPEG of 4 gigapixels": (jpeg(size=(65_535, 65_535)), "it has 65535 x 65535 pixels, more than the 40 megapixels"),
    "JPEG of many scans": (jpeg(20_000, (6_300, 6_300)), "it is a progressive JPEG of too many scans"),
    "JPEG of many scans that is no progressive one": (
        jpeg(20_000, (6_300, 6_300), progressive=False),
        "it is a progressive JPEG of too many scans",
    ),
    "JPEG with much camera data": (
        jpeg(segment=(b"\xff\xe1\xff\xff" + b"Exif\0\0".ljust(65_533, b"\0")) * 300),
        "its parts are too many or too large",
    ),
    "JPEG with junk": (jpeg(segment=b"\xff\xe0\0\4ab" + b"a" * 10_000_000), "its parts are too many or too large"),
    "TIFF with a huge tile": (
        tiff(9, 9, ZIPPED, t259=[8], t322=[60_000], t323=[60_000], t324=[8], t325=[len(ZIPPED)]),
        "it has 60000 x 60000 pixels, more than the 40 megapixels",
    ),
    "TIFF whose strips are all the same": (
        tiff(6_000, 6_000, ZIPPED, **SAME, t273=[8] * 6_000, t279=[len(ZIPPED)] * 6_000),
        "its TIFF strips overlap or are cut off",
    ),
    "TIFF of a million strips": (tiff(9, 9, t278=[1], t273=[8] * 1_000_000), "it has too many TIFF strips"),
    "TIFF of many overlapping raw strips": (
        tiff(100, 60_000, bytes(400_000), t278=[1], t273=[*range(8, 60_008)], t279=[100] * 60_000),
        "its parts are too many or too large",
    ),
    "TIFF in slow compression": (tiff(9, 9, t259=[34925], t273=[8], t279=[100]), "its TIFF compression is old or slow"),
    "TIFF without sizes of strips": (tiff(9, 9, ZIPPED, t259=[8], t273=[8]), "its TIFF strips overlap or are cut off"),
    "TIFF that says things twice": (
        tiff(9, 9, t273=[8], t279=[81]).replace(struct.pack("<HH", 277, 4), struct.pack("<HH", 262, 4)),
        "a TIFF tag occurs twice",
    ),
    "TIFF with numbers of another kind": (
        tiff(9, 9, t273=[8], t279=[81]).replace(struct.pack("<HH", 259, 4), struct.pack("<HH", 259, 8)),
        "damaged: a TIFF tag holds no number",
    ),
    "TIFF of many channels": (tiff(9, 9, t277=[200], t273=[8]), "its colour model is not supported"),
    "TIFF that begins nowhere": (b"II+\0\x08\0\0\0" + b"\xff" * 8, "damaged"),
    "BMP in runs": (bmp(6_300, 6_300, 8, 1, b"\0\0" * 1000), "it has 6300 x 6300 pixels, more than the 4 megapixels"),
    "BMP with a header of 4 GB": (
        b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + b"\xf0\xff\xff\xff" + bytes(30_000_000),
        "its parts are too many or too large",
    ),
    "GIF of 4 gigapixels": (gif(65_535, 65_535) + b"\x08\1\0\0;", "it has 65535 x 65535 pixels, more than the 40"),
    "GIF with a million comments": (gif(9, 9, b"!\xfe" + b"\1a" * 1_000_000 + b"\0"), "its parts are too many"),
    "WebP of 268 megapixels": (webp(16_383, 16_383), "damaged"),
    "WebP of 36 megapixels": (webp(6_000, 6_000), "it has 6000 x 6000 pixels, more than the 25 megapixels"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_in_no_time(name):
    data, reason = HOSTILE[name]
    start = time.process_time()
    with pytest.raises(UnusableFile) as error:
        decode_image(io.BytesIO(data), ImageSettings(64, 3))
    seconds = time.process_time() - start
    assert str(error.value).startswith(reason), error.value
    assert seconds < 2, f"{seconds:.2f} s"


@pytest.mark.parametrize(
    "data",
    [
        png(6_324, 6_324, 1, 0, deflated_zeros(6_324 * 792)),
        tiff(300, 300, bytes(90_000), t278=[1], t273=[8 + 300 * row for row in range(300)], t279=[300] * 300),
        tiff(100, 90, zlib.compress(bytes(128 * 128)), t259=[8], t322=[128], t323=[128], t324=[8], t325=[35]),
        jpeg(1000),
        jpeg(segment=b"\xff\xe1\xff\xff" + b"Exif\0\0".ljust(65_533, b"\0")),
        webp(16, 16),
    ],
    ids=["just small enough", "a strip a row", "a tile beyond the picture", "many scans", "camera data", "animation"],
)
def test_what_is_unusual_but_fair_is_read(data):
    values = decode_image(io.BytesIO(data), ImageSettings(8)).values
    assert np.ptp(values.astype(int)) == 0


def test_no_frame_but_the_first_is_looked_at():
    frames = io.BytesIO()
    Image.new("L", (32, 32), 40).save(frames, "GIF")
    first = frames.getvalue()
    image = first[first.index(b",") : -1]
    data = first[:-1] + image * 20_000 + b";"
    file = Metered(io.BytesIO(data), reads=10_000)
    assert (decode_image(file, ImageSettings(8)).values == 40).all()
    assert file._bytes > 400_000_000 - 300_000, "some blocks were read, not all"


def test_limits_are_about_the_header_not_the_data():
    side = int(MAX_PIXELS**0.5)
    open_picture(io.BytesIO(png(side, side, 8, 0, b"")))
    with pytest.raises(UnusableFile):
        open_picture(io.BytesIO(png(side, side + 20, 8, 0, b"")))


def test_scans_are_counted_where_scans_are():
    false = b"\xff\xfe\xff\xff" + b"\xff\xda" * 32_000 + bytes(1533)
    assert open_jpeg(jpeg(segment=false, size=(6_000, 6_000))).size == (6_000, 6_000)
    kinds = [kind for kind, _, _ in jpeg_segments(jpeg(3, segment=false))]
    assert kinds.count(0xDA) == [kind for kind, _, _ in jpeg_segments(jpeg(1))].count(0xDA) + 2


class TestMetered:
    def test_reads_and_bytes_are_counted(self):
        file = Metered(io.BytesIO(bytes(100)), reads=3, size=100)
        assert len(file.read(60)) == 60
        assert file.tell() == 60
        with pytest.raises(UnusableFile):
            Metered(io.BytesIO(bytes(101)), size=100).read()
        assert len(Metered(io.BytesIO(bytes(100)), size=100).read()) == 100
        file.read(1), file.read(1)
        with pytest.raises(UnusableFile):
            file.read(1)
        file.allow(1, 10)
        assert len(file.read(10)) == 10

    def test_no_more_is_read_than_is_allowed(self):
        class Endless(io.BytesIO):
            def read(self, size=-1):
                assert 0 <= size <= 101
                return bytes(size)

        with pytest.raises(UnusableFile):
            Metered(Endless(), size=100).read(10**9)
