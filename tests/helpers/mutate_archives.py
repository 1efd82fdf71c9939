"""Broken containers for tests: tar archives, numpy arrays, safetensors and checkpoints whose parts lie."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from typing import Any

import numpy as np
from mutate import Contents
from mutate_text import DAMAGE, JSON, named, one_of, places
from numpy.random import Generator

ODD_NAMES = (
    "../../secret.png", "/etc/passwd", "a/../../b.png", "x" * 90 + ".png", "ü\u202e.png", "\x1b[2J.png", 
    "000000.json", "000000.png", "000000.PNG", "0/1/2.png", "nothing", "a.b.c.png", "./000000.png", "000000.cls",
    ".png", "\udcff.png", "\n.png", "000000.spectrogram.npy", "000000.0.png", "999999999999999999999999.png",
)  # fmt: skip

# --- tar


def _members(content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def _tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    blocks = []
    for about, data in members:
        blocks += [about.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape"), data, bytes(-len(data) % 512)]
    return b"".join([*blocks, bytes(1024)])


def tar_header(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A field of a header holds something else, under the right checksum."""
    data, starts, place = bytearray(content), [], 0
    while data[place : place + 100].strip(b"\0"):
        starts.append(place)
        place += 512 + -(-int(data[place + 124 : place + 135], 8) // 512) * 512
    start = one_of(rng, *starts)
    fields = ((0, 100), (100, 8), (124, 12), (124, 12), (136, 12), (156, 1), (156, 1), (157, 100), (257, 8), (345, 155))
    field, length = one_of(rng, *fields)
    numbers = (
        b"7" * 11,
        b"0",
        b"-1",
        b"1e9",
        b"\x80" + b"\xff" * 11,
        b"\xff" * 12,
        b"\x80" + bytes(10) + b"\1",
        b" 12 ",
    )
    odd = one_of(rng, *numbers, b"", rng.bytes(length), one_of(rng, *ODD_NAMES).encode("utf-8", "surrogateescape"))
    if length == 1:  # the kind of a member
        odd = bytes([one_of(rng, *b"\x001234567DKLSVgx?")])
    data[start + field : start + field + length] = odd[:length].ljust(length, b"\0")
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    return bytes(data)


def tar_member(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """What one member holds is broken, of JSON in what it says."""
    members = _members(content)
    number = int(rng.integers(len(members)))
    about, data = members[number]
    kinds = {"json": JSON, "npy": NPY}.get(about.name.rpartition(".")[2], DAMAGE)
    data = one_of(rng, *kinds.values())(data, rng, contents)
    about.size = len(data)
    members[number] = about, data
    return _tar(members)


def tar_names(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A member has another name or kind, is there twice, elsewhere, or not at all."""
    members, kind = _members(content), rng.integers(4)
    about, data = members.pop(int(rng.integers(len(members))))
    if kind == 0:
        about.name = one_of(rng, *ODD_NAMES)
    elif kind == 1:
        about.type = bytes([one_of(rng, *b"123456")])
        about.linkname, about.size, data = one_of(rng, "../../secret.png", "/etc/passwd", "000000.json"), 0, b""
    place = int(rng.integers(len(members) + 1))
    members[place:place] = [(about, data)] * one_of(rng, 0, 1, 1, 1, 2)
    return _tar(members)


def tar_extension(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """An extension of the format before a member: a long name, a size, a sparse file, or nonsense."""
    text = one_of(
        rng,
        *(
            b"30 path=../../secret.png\n",
            b"12 size=-1\n",
            b"20 size=99999999999\n",
            b"11 size=0\n",
            b"99 path=x\n",
            b"1",
        ),
        *(b"22 GNU.sparse.major=1\n", b"\xff\xff", b"9" * 700, b"x" * 300_000, b"13 path=\0\xff\n", b"", b"0 a=b\n"),
    )
    extension = tarfile.TarInfo("x")
    extension.type, extension.size = bytes([one_of(rng, *b"xgLKSVM")]), len(text)
    members = _members(content)
    place = int(rng.integers(len(members)))
    return _tar([*members[:place], (extension, text), *members[place:]])


# --- numpy

_NPY = {
    "descr": (
        "'|O'", "'>f8'", "'<c16'", "'<U9'", "'|V4'", "[('a', '<f4')]", "'<f2'", "'<i8'", "'<M8[ns]'", "0", "'x'",
        "'<f4,<f4'",
    ),
    "fortran_order": ("True", "1", "None", "'x'"),
    "shape": (
        "(-1,)", "(0,)", "()", "(40,)", "(80, 40)", "(40, 0)", "(40, 9223372036854775808)", "(40, 80.0)", "40", "'x'",
        "(4611686018427387904, 4)", "(True, 80)", "(40, 81)", "(40, -80)", "(40, 10**9)", "(40, 160)", "(1,)" * 99,
    ),
}  # fmt: skip


def npy_header(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """The description of an array says something else than there is, or is no description."""
    (length,) = struct.unpack_from("<H", content, 8)
    key = one_of(rng, *_NPY)
    values = {"descr": "'<f4'", "fortran_order": "False", "shape": "(40, 80)"} | {key: one_of(rng, *_NPY[key])}
    text = "{" + ", ".join(f"'{key}': {value}" for key, value in values.items()) + "}"
    none = (text[:-1], text + " + 1", "[" * 200, "__import__('os').system('true')", "9" * 5000, "{" * 9000, "")
    header = one_of(rng, *[text] * 5, *none).encode().ljust(length)
    version, size = bytes([one_of(rng, 1, 1, 1, 1, 2, 3, 9), 0]), one_of(rng, *[len(header)] * 5, 0, 65_535)
    return content[:6] + version + struct.pack("<H", size) + header + content[10 + length :]


def npy_archive(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A pickle or an archive of arrays, which numpy would open too."""
    file = io.BytesIO()
    if rng.random() < 0.5:
        np.savez(file, a=np.zeros(3))
    else:
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


# --- weights


def safetensors_header(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """The description of tensors, JSON, says something else."""
    (length,) = struct.unpack_from("<Q", content)
    kinds = [function for name, function in JSON.items() if name.startswith("json")]
    header = one_of(rng, *kinds)(content[8 : 8 + length], rng, contents)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def safetensors_length(content: bytes, rng: Generator, contents: Contents) -> bytes:
    return struct.pack("<Q", one_of(rng, 0, 1, 2, 100, 10**6, 2**31, 2**40, 2**62)) + content[8:]


def checkpoint_value(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A value of the state is of another type, size or shape, or is not there."""
    import torch

    state = [torch.load(io.BytesIO(content), weights_only=True)]
    container, key = one_of(rng, *places(state))
    odd: tuple[Any, ...] = (
        *(None, 0, -1, 2**31, 2**63, 1e308, float("nan"), True, "", "x" * 1000, "\x1b[2J", [], {}, {"a": {}}, (), b""),
        *(torch.zeros(0), torch.zeros(3, 3), torch.full((2,), torch.nan), torch.zeros(4, dtype=torch.int64)),
        *(torch.zeros(1).expand(2**33), torch.zeros(1).expand(2**20, 2**12), torch.zeros(2, dtype=torch.complex64)),
        *(torch.zeros(2, 2).to_sparse(), torch.nn.Parameter(torch.zeros(2)), torch.zeros((), dtype=torch.bool)),
    )  # fmt: skip
    if rng.random() < 0.3 and isinstance(container, dict):
        del container[key]
    else:
        container[key] = one_of(rng, *odd)
    return _saved(state[0])


class _Call:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def checkpoint_pickle(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A pickle that would call something."""
    return _saved({"model": _Call(), "identity": "x"})


def _saved(value: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def other_numbers(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """Some bytes are as large, or as small, as they can be."""
    place, size = int(rng.integers(len(content))), one_of(rng, 1, 2, 4, 8)
    value = one_of(rng, 0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    return content[:place] + value.to_bytes(size, "little") + content[place + size :]


NPY = DAMAGE | named(npy_header, npy_archive)
TAR = DAMAGE | named(tar_header, tar_member, tar_names, tar_extension)
SAFETENSORS = DAMAGE | named(safetensors_header, safetensors_length)
CHECKPOINT = DAMAGE | named(checkpoint_value, checkpoint_pickle)
BINARY = DAMAGE | named(other_numbers)
