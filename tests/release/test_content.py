"""Every place in a sample's file where a name can hide, in either form of a data set: none outlasts a release."""

from __future__ import annotations

import io
import json
import re
import struct
import tarfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from small import SETTINGS, SOUND, digests

from mmgen.data.writing.encoding import encode_array, encode_picture, encode_sound
from mmgen.data.writing.layout import sha256
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample
from mmgen.errors import UserError
from mmgen.release.content import sample_digest, written_anew
from mmgen.release.datasets import copy_dataset, dataset_digest

SECRET = b"AnnikaSecret"
WRITERS = [FolderWriter, ShardWriter]
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, SETTINGS["image"].shape, dtype=np.uint8)
WAVE = RNG.uniform(-0.5, 0.5, 3000).astype(np.float32)
LOG_MEL = RNG.uniform(-9, 1, SOUND.shape[1:]).astype(np.float32)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*before: bytes, tail: bytes = b"", stream: bytes | None = None) -> bytes:
    """The picture by hand, with chunks before its pixels, bytes behind its last row, or another stream of pixels."""
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS[0])
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *PIXELS[0].shape[::-1], 8, 0, 0, 0, 0))
    pixels = zlib.compress(rows + tail, 0) if stream is None else zlib.compress(rows) + stream
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def noted() -> bytes:
    """With all notes that Pillow knows."""
    buffer, info, exif = io.BytesIO(), PngInfo(), Image.Exif()
    info.add_text("author", SECRET.decode())
    info.add_itxt("comment", SECRET.decode(), zip=False)
    exif[0x010E] = SECRET.decode()
    options = {"pnginfo": info, "exif": exif, "icc_profile": SECRET, "dpi": (300, 300)}
    Image.fromarray(PIXELS[0]).save(buffer, "PNG", **options)
    return buffer.getvalue()


def with_palette() -> bytes:
    """As a palette, of which 16 of the colours are used; others hold the secret, and so does its transparency."""
    grey = Image.fromarray(PIXELS[0] // 16)
    picture, buffer = Image.new("P", grey.size), io.BytesIO()
    picture.frombytes(grey.tobytes())
    colours = [level * 16 for level in range(16) for _ in range(3)]
    picture.putpalette([*colours, *SECRET, *bytes(768 - 48 - len(SECRET))])
    picture.save(buffer, "PNG", transparency=bytes([255] * 16) + SECRET)
    return buffer.getvalue()


def flac(*blocks: tuple[int, bytes], tail: bytes = b"") -> bytes:
    """The sound with metadata blocks (kind, content) behind its first one."""
    whole = encode_sound(WAVE, SOUND.sample_rate)
    first = 8 + int.from_bytes(whole[5:8], "big")
    more = b"".join(bytes([kind]) + len(data).to_bytes(3, "big") + data for kind, data in blocks)
    return whole[:4] + bytes([whole[4] & 0x7F]) + whole[5:first] + more + whole[first:] + tail


def tagged() -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", SOUND.sample_rate, 1, "PCM_16", format="FLAC") as file:
        file.title = file.artist = SECRET.decode()
        file.write(WAVE)
    return buffer.getvalue()


def npy(header: str | None = None, array: np.ndarray = LOG_MEL) -> bytes:
    if header is None:
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + array.tobytes()


HEADER = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {LOG_MEL.shape}, }}"


def not_numbers() -> np.ndarray:
    """Log-mels whose last values are no numbers, with three bytes of the secret each, and zeros with signs."""
    array = LOG_MEL.copy()
    parts = [b"\x7f" + bytes([0x80 | part[0]]) + part[1:] for part in (SECRET[i : i + 3] for i in range(0, 12, 3))]
    array.view(">u4")[0, :4] = np.frombuffer(b"".join(parts), ">u4")
    array[1] = np.where(np.unpackbits(np.frombuffer(SECRET, np.uint8))[: array.shape[1]], -0.0, 0.0)
    return array


HIDING_PLACES: dict[str, tuple[str, bytes]] = {
    "PNG notes": ("png", noted()),
    "PNG behind the last row": ("png", png(tail=SECRET)),
    "PNG second stream": ("png", png(stream=zlib.compress(SECRET, 0))),
    "PNG behind the stream": ("png", png(stream=SECRET)),
    "PNG palette of grey": ("png", png(chunk(b"PLTE", SECRET))),
    "PNG transparency of grey": ("png", png(chunk(b"tRNS", b"\0\0" + SECRET))),
    "PNG palette": ("png", with_palette()),
    "PNG unknown chunk": ("png", png(chunk(b"anKa", SECRET))),
    "PNG behind its end": ("png", png() + SECRET),
    "FLAC tags": ("flac", tagged()),
    "FLAC padding": ("flac", flac((1, SECRET))),
    "FLAC application": ("flac", flac((2, SECRET))),
    "FLAC behind its end": ("flac", flac(tail=SECRET)),
    "numpy comment": ("npy", npy(f"{HEADER} # {SECRET.decode()}\n")),
    "numpy order": ("npy", npy(f"{HEADER.replace('False', 'True')}#{SECRET.decode()}", LOG_MEL.T)),
    "numpy double precision": ("npy", npy(array=LOG_MEL.astype(np.float64))),
    "numpy no numbers": ("npy", npy(array=not_numbers())),
}
REFUSED: dict[str, tuple[str, bytes]] = {
    "array behind": ("npy", npy() + SECRET),
    "array of texts": ("npy", npy(array=np.array([[SECRET.decode()]]))),
    "array that is huge": ("npy", npy(HEADER.replace(str(LOG_MEL.shape), f"({LOG_MEL.shape[0]}, {40 * 10**30})"))),
    "array of another version": ("npy", b"\x93NUMPY\x02\0" + npy()[8:]),
    "array with a deep header": ("npy", npy("(" * 9000)),
    "array with minuses": ("npy", npy("{'descr': " + "-" * 9000 + "1}")),
    "archive": ("npy", b"PK\x03\x04" + SECRET),
    "picture of another kind": ("png", b"GIF89a" + SECRET),
    "half a picture": ("png", noted()[:-900]),
    "half a sound": ("flac", flac()[:3000]),
    "sound behind tags": ("flac", b"ID3" + SECRET + flac()),
    "longer name of a sound": ("flac", encode_sound(np.zeros(100), SOUND.sample_rate * 2)),
    "stereo": ("flac", encode_sound(np.zeros((100, 2)), SOUND.sample_rate)),
}


def wav(name: bytes) -> bytes:
    """The sound as a WAV file whose chunk of this name is longer than it has to be."""
    values = np.rint(WAVE * 32767).astype("<i2").tobytes()
    about = struct.pack("<HHIIHH", 1, 1, SOUND.sample_rate, 2 * SOUND.sample_rate, 2, 16)
    parts = {b"fmt ": about, b"fact": struct.pack("<I", len(WAVE)), b"data": values}
    parts[name] += SECRET
    chunks = b"".join(key + struct.pack("<I", len(data)) + data for key, data in parts.items())
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


REFUSED |= {f"WAV {name.decode().strip()}": ("flac", wav(name)) for name in (b"fmt ", b"fact")}


def own(ending: str) -> Any:
    return SETTINGS["image" if ending == "png" else "audio"]


def write(folder: Path, kind: type[Any]) -> Path:
    """Two samples that are alike."""
    folder.mkdir(parents=True)
    labels = ("covid", "healthy")
    writer = kind(folder, SETTINGS, labels, 1, 2, lambda index: {"label": labels[index]})
    writer.write(SyntheticSample(index, {"image": PIXELS}, {"audio": (LOG_MEL, WAVE)}) for index in range(2))
    writer.finish({})
    return folder


def plant(folder: Path, ending: str, content: bytes) -> None:
    """Put a file in the place of a sample's one, and make the checksums right again."""
    shard = folder / "shards" / "000000.tar"
    if shard.exists():
        with tarfile.open(shard) as tar:
            members = {about.name: tar.extractfile(about).read() for about in tar}  # type: ignore[union-attr]
        name = next(name for name in members if name.endswith(f".{ending}"))
        with tarfile.open(shard, "w") as tar:
            for key, data in (members | {name: content}).items():
                about = tarfile.TarInfo(key)
                about.size = len(members[key] if key != name else content)
                tar.addfile(about, io.BytesIO(data))
    else:
        min(folder.rglob(f"*.{ending}")).write_bytes(content)
    about = json.loads((folder / "dataset.json").read_text())
    about["checksums"] = {name: sha256(folder / name) for name in about["checksums"]}
    (folder / "dataset.json").write_text(json.dumps(about))


def everything_in(folder: Path) -> bytes:
    """The bytes of all files, and those of all streams of pixels, inflated."""
    whole = b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    found = [whole]
    for start in (match.start() for match in re.finditer(b"IDAT", whole)):
        (length,) = struct.unpack(">I", whole[start - 4 : start])
        rest = whole[start + 4 : start + 4 + length]
        with suppress(zlib.error):  # no further stream
            while rest:
                stream = zlib.decompressobj()
                found.append(stream.decompress(rest))
                rest = stream.unused_data
    return b"\n".join(found)


@pytest.fixture(scope="module", params=WRITERS)
def clean(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, dict[str, str]]:
    """A kind of writer, a clean data set of it, and what is released of that."""
    root = tmp_path_factory.mktemp("clean")
    folder = write(root / "set", request.param)
    copy_dataset(folder, root / "out")
    assert digests(root / "out") == digests(folder)  # it is what the library itself writes
    return request.param, folder, digests(root / "out")


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_nothing_that_hides_is_released(clean: Any, place: str, tmp_path: Path) -> None:
    kind, original, released = clean
    ending, content = HIDING_PLACES[place]
    source = write(tmp_path / "set", kind)
    plant(source, ending, content)
    assert verify_dataset(source) == []
    planted = place not in ("numpy double precision", "numpy no numbers")
    assert (SECRET in everything_in(source)) == planted
    copy_dataset(source, tmp_path / "out")
    assert SECRET not in everything_in(tmp_path / "out")
    assert dataset_digest(source) == dataset_digest(tmp_path / "out")
    same_values = place not in ("PNG palette", "numpy no numbers")
    assert (dataset_digest(source) == dataset_digest(original)) == same_values
    assert (digests(tmp_path / "out") == released) == same_values
    before, after = (read_dataset(folder, SETTINGS) for folder in (source, tmp_path / "out"))
    for name in SETTINGS:
        assert np.array_equal(before[name].values, after[name].values, equal_nan=name == "audio")


@pytest.mark.parametrize("place", REFUSED)
def test_what_is_not_what_it_is_called_is_refused(clean: Any, place: str, tmp_path: Path) -> None:
    ending, content = REFUSED[place]
    source = write(tmp_path / "set", clean[0])
    plant(source, ending, content)
    for action in (lambda: copy_dataset(source, tmp_path / "out"), lambda: dataset_digest(source)):
        with pytest.raises(UserError, match=r"(000000\.\w+|images.*) cannot be read") as refused:
            action()
        assert "\n" not in str(refused.value)


def test_released_bytes_are_those_of_the_writer() -> None:
    """From whatever file the values come."""
    encoded: dict[str, Callable[[], bytes]] = {
        "png": lambda: encode_picture(PIXELS),
        "flac": lambda: encode_sound(WAVE, SOUND.sample_rate),
        "npy": lambda: encode_array(LOG_MEL),
    }
    foreign = {
        "png": png(),
        "flac": tagged(),
        "npy": npy(f"{HEADER.replace('False', 'True')}\n", LOG_MEL.T),
    }
    for ending, encode in encoded.items():
        assert foreign[ending] != encode()
        assert written_anew(ending, foreign[ending], own(ending)) == encode()
        assert written_anew(ending, encode(), own(ending)) == encode()
        assert sample_digest(ending, foreign[ending], own(ending)) == sample_digest(ending, encode(), own(ending))


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "LA", "RGBA", "I;16"])
def test_pictures_of_any_kind_become_plain(mode: str) -> None:
    buffer = io.BytesIO()
    picture = Image.fromarray(PIXELS[0]).convert("I" if mode == "I;16" else mode).convert(mode)
    picture.save(buffer, "PNG")
    with Image.open(io.BytesIO(written_anew("png", buffer.getvalue(), own("png")))) as plain:
        assert plain.mode == "L" and plain.size == picture.size and not plain.info


def test_long_sounds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgen.data.writing.encoding._MOST_SAMPLES", len(WAVE))
    assert written_anew("flac", flac(), SOUND) == encode_sound(WAVE, SOUND.sample_rate)
    monkeypatch.setattr("mmgen.data.writing.encoding._MOST_SAMPLES", len(WAVE) - 1)
    with pytest.raises(ValueError, match="more than"):
        written_anew("flac", flac(), SOUND)
