"""Files and folders that are whole or not there: written under a temporary name and renamed."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mmgen.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def new_file(path: Path, sync: bool = False) -> Iterator[BinaryIO]:
    """A file to write that gets its name when the block ends well; otherwise nothing, or the earlier file, is there.

    Folders above it are made. The temporary name is random, so two processes that write one file do not mix.

    Args:
        sync: wait until the content is on the disk. Without it a power failure shortly afterwards may leave an empty
            file under the final name; ruling that out costs milliseconds a file.

    Raises:
        UserError: the disk is full.
    """
    temporary = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if sync and os.name == "posix":  # make the rename last; elsewhere folders cannot be opened
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except BaseException as error:
        with suppress(OSError):  # it may be what filled the disk, or was never there
            temporary.unlink()
        if isinstance(error, OSError) and error.errno in _FULL:
            raise UserError(
                f"The disk is full: {path} cannot be written; free space and run the same command again, which goes "
                "on where it stopped."
            ) from error
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that gets its name when the block ends well; otherwise nothing is there.

    Raises:
        UserError: the disk is full, or the name is taken by a folder that is not empty.
    """
    temporary = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise UserError(f"The disk is full: {path} cannot be written; free space and try again.") from error
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UserError(f"{path} is not an empty folder any more; choose another --out.") from error
        raise


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that :func:`new_file` had not finished."""
    return re.fullmatch(r"\.tmp-[0-9a-f]{8}-.+", name, re.DOTALL) is not None


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left of unfinished files below a folder; nobody may be writing there."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if is_temporary(name):
                os.unlink(os.path.join(parent, name))
