"""How a synthetic data set lies on disk: its description, and its files' names."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mmgen.data.decoded import UnusableFile
from mmgen.data.formats.tar import Member, tar_members
from mmgen.data.opening import MIB, open_regular, read_json
from mmgen.data.settings import Settings, kind_of
from mmgen.errors import shown

DatasetFormat = Literal["folder", "webdataset"]
DOCUMENT, TABLE, README = "dataset.json", "metadata.csv", "README.md"
REJECTED = "rejected.csv"  # written by people who look at the samples, and so in no checksum
# Bytes that are read at most: of a document or table, a sample's file, a sample's metadata in a shard.
LARGEST_DOCUMENT, LARGEST_FILE, LARGEST_METADATA = 512 * MIB, 64 * MIB, MIB


class SampleFile(NamedTuple):
    """Where one file of every sample lies: ``FOLDER/LABEL/000000.ENDING``, or in shards ``000000.MEMBER``."""

    folder: str
    ending: str
    member: str


def sample_files(settings: Mapping[str, Settings]) -> dict[str, SampleFile]:
    """The files of a sample, by the column of the table that names them."""
    files = {}
    for name, own in settings.items():
        prefix = "" if name == kind_of(own).name else f"{name}."
        if kind_of(own).is_picture:
            files[f"{name}_file_name"] = SampleFile("images" if name == "image" else name, "png", f"{prefix}png")
        else:
            spectrograms = "spectrograms" if name == "audio" else f"{name}_spectrograms"
            files[f"{name}_file_name"] = SampleFile(name, "flac", f"{prefix}flac")
            files[f"{name}_spectrogram"] = SampleFile(spectrograms, "npy", f"{prefix}spectrogram.npy")
    return files


def safe_names(labels: Sequence[str]) -> list[str]:
    """A folder name for each label: never hidden, never a way out of the folder, all different in any case."""
    names: list[str] = []
    for label in labels:
        name = re.sub(r"[^\w.\- ]", "_", label).strip(" .") or "label"
        taken = {other.casefold() for other in names}
        while name.casefold() in taken:
            name += "_"
        names.append(name)
    return names


def read_document(folder: Path) -> dict[str, Any]:
    """``dataset.json`` of a finished data set, of which nothing but its form is trusted.

    Checked are the keys "format" (:data:`DatasetFormat`), "counts" (samples by label) and "checksums" (SHA-256 by
    relative name; of names that are no paths inside the folder see :func:`is_inside`).

    Raises:
        ValueError: it is none.
        OSError: there is none.
    """
    path = folder / DOCUMENT
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is a link or no file")
    about = read_json(path, LARGEST_DOCUMENT)
    if not isinstance(about, dict) or about.get("synthetic") is not True:
        raise ValueError('it does not say "synthetic": true')
    form, counts, checksums = (about.get(key) for key in ("format", "counts", "checksums"))
    if form not in ("folder", "webdataset"):
        raise ValueError(f"its format is not folder or webdataset but {shown(str(form))}")
    if not isinstance(counts, dict) or not all(type(count) is int and count >= 0 for count in counts.values()):
        raise ValueError("its counts are not whole numbers by label")
    digests = list(checksums.values()) if isinstance(checksums, dict) else [None]
    if not all(isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) for digest in digests):
        raise ValueError("its checksums are not SHA-256 by file")
    head = {key: value for key, value in about.items() if key != "checksums"}
    json.dumps(head, ensure_ascii=False).encode()  # halves of characters, which no file can hold, are a ValueError
    return about


def patches_of(about: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(h, w) of the patches that a data set's samples were put together from, by modality, from its description.

    Of what does not say so, as most generators know no patches, or in another form: nothing.
    """
    patches = about.get("patch")
    entries = patches.items() if isinstance(patches, Mapping) else ()
    sizes = {name: tuple(sides) for name, sides in entries if isinstance(sides, list) and len(sides) == 2}
    return {
        name: (h, w)
        for name, (h, w) in sizes.items()
        if type(h) is type(w) is int and 0 < min(h, w) <= max(h, w) < 2**31
    }


def is_inside(name: str) -> bool:
    """Whether a name from a data set is a plain relative path that does not lead out of its folder."""
    return not set(name) & set("\\:\0") and not set(name.split("/")) & {"", ".", ".."}


def mode_of(folder: Path, name: str) -> int:
    """Type of a file of a data set as of ``os.lstat``, a link's if there is one on the way to it; raises OSError."""
    path = folder
    for part in name.split("/"):
        path = path / part
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            break
    return mode


def unlisted(folder: Path, listed: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Relative names of all that lies in a folder but is not listed, and whether it is a link to a folder, which is not
    entered. The description itself and ``rejected.csv`` need not be listed."""
    for parent, folders, files in os.walk(folder):
        prefix = Path(parent).relative_to(folder)
        for name in sorted(folders):
            if os.path.islink(os.path.join(parent, name)):
                yield (prefix / name).as_posix(), True
        for name in sorted(files):
            relative = (prefix / name).as_posix()
            if relative not in listed and relative not in (DOCUMENT, REJECTED):
                yield relative, False


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to a shard that says nothing of the machine, its users or the time."""
    about = tarfile.TarInfo(name)  # its defaults: mode 0644, time, user and group 0, no names
    about.size = len(content)
    tar.addfile(about, io.BytesIO(content))


def shard_members(shard: Path, others: list[str] | None = None) -> Iterator[tuple[Member, Callable[[], bytes]]]:
    """Every plain file in a shard, and what reads it before the next one is asked for.

    Args:
        others: gets the names of what is no plain file.

    Raises:
        ValueError: the shard is damaged, or a file that is read is larger than 64 MiB (metadata: 1 MiB).
        OSError: there is none.
    """
    with open_regular(shard) as file:

        def read() -> bytes:
            limit = LARGEST_METADATA if member.name.endswith(".json") else LARGEST_FILE
            if member.size > limit:
                raise ValueError(f"{shown(member.name)} is larger than {limit // MIB} MiB")
            file.seek(member.offset)
            return file.read(member.size)

        try:
            for member in tar_members(file, os.fstat(file.fileno()).st_size, others):
                yield member, read
        except UnusableFile as error:
            raise ValueError(str(error)) from error


def sha256(path: Path, sync: bool = False) -> str:
    """SHA-256 of a file, hexadecimal; ``sync`` also waits until its content is on the disk."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync and os.name == "posix":  # elsewhere only files opened for writing can be synced
            os.fsync(file.fileno())
    return digest
