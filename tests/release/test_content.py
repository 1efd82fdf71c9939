from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mmgen.release.content import sample_digest, stripped

SECRET = b"AnnikaSecret"


def png(mode: str = "RGB", notes: bool = True) -> bytes:
    array = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    picture, buffer = Image.fromarray(array).convert(mode), io.BytesIO()
    info, exif = PngInfo(), Image.Exif()
    info.add_text("author", SECRET.decode())
    info.add_itxt("comment", SECRET.decode(), zip=False)
    exif[0x010E] = SECRET.decode()
    options = {"pnginfo": info, "exif": exif, "icc_profile": SECRET, "dpi": (300, 300)} if notes else {}
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_picture_keeps_its_pixels_only(mode: str) -> None:
    content = png(mode)
    clean = stripped(".png", content + SECRET)
    assert SECRET in content and SECRET not in clean
    before, after = (Image.open(io.BytesIO(data)) for data in (content, clean))
    assert after.mode == before.mode and after.tobytes() == before.tobytes()
    assert set(after.info) <= {"transparency"} and not after.getexif()
    assert clean == stripped(".png", png(mode, notes=False)) == png(mode, notes=False)  # nothing was encoded anew


def test_transparency_is_a_part_of_the_picture() -> None:
    buffer = io.BytesIO()
    Image.new("P", (4, 4), 1).save(buffer, "PNG", transparency=1)
    assert Image.open(io.BytesIO(stripped(".png", buffer.getvalue()))).info["transparency"] is not None


def flac(notes: bool) -> tuple[bytes, np.ndarray]:
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, 3000)
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 16000, 1, "PCM_16", format="FLAC") as file:
        if notes:
            file.title = file.artist = SECRET.decode()
        file.write(waveform)
    return buffer.getvalue(), waveform


def test_a_sound_keeps_its_waveform_only() -> None:
    content, _ = flac(notes=True)
    clean = stripped(".flac", content + SECRET)
    assert SECRET in content and SECRET not in clean
    before, after = (soundfile.read(io.BytesIO(data), dtype="int16") for data in (content, clean))
    assert np.array_equal(before[0], after[0]) and before[1] == after[1] == 16000
    assert clean == flac(notes=False)[0]
    assert sample_digest(".flac", content) == sample_digest(".flac", clean)


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version, allow_pickle=True)
    return buffer.getvalue()


def test_an_array_keeps_its_numbers_and_gets_a_new_header() -> None:
    array = np.asfortranarray(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32))
    content = npy(array)
    assert stripped(".npy", content) == content
    note = b"# " + SECRET
    at = content.index(b"}") + 1
    noted = content[:at] + note + content[at + len(note) :]
    assert np.array_equal(np.load(io.BytesIO(noted)), array)
    assert stripped(".npy", noted) == content


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".npy", npy(np.array([{"a": 1}], dtype=object))),
        (".npy", npy(np.array(["text"]))),
        (".npy", npy(np.zeros(3), (2, 0))),
        (".npy", npy(np.zeros(3)) + SECRET),
        (".npy", b"PK\x03\x04"),
        (".png", b"GIF89a"),
        (".png", png()[:-20]),
        (".png", png(notes=False)[:60] + bytes(30) + png(notes=False)[90:]),
        (".flac", flac(notes=False)[0][:50]),
        (".flac", b"ID3" + flac(notes=False)[0]),
    ],
)
def test_what_is_not_what_it_is_called_is_refused(suffix: str, content: bytes) -> None:
    with pytest.raises(ValueError):
        stripped(suffix, content)
    with pytest.raises(ValueError):
        sample_digest(suffix, content)


def test_pixels_that_something_follows_are_refused() -> None:
    """In the stream of pixels itself, where a decoder does not look any more."""
    import struct
    import zlib

    content = png("L", notes=False)
    at = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[at - 4 : at])
    data = content[at + 4 : at + 4 + length] + SECRET
    chunk = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    hidden = content[: at - 4] + chunk + content[at + 8 + length :]
    assert Image.open(io.BytesIO(hidden)).tobytes() == Image.open(io.BytesIO(content)).tobytes()
    with pytest.raises(ValueError, match="something follows"):
        stripped(".png", hidden)
