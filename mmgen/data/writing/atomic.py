"""Files and folders that are whole or not there: written under a temporary name and renamed."""

from __future__ import annotations

import errno
import fcntl
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

    What a killed process left of the same folder is removed first.

    Raises:
        UserError: the disk is full, or the name is taken by a folder that is not empty.
    """
    temporary = held = None
    try:
        _remove_abandoned(path)
        temporary, held = _locked_temporary(path)
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise UserError(f"The disk is full: {path} cannot be written; free space and try again.") from error
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UserError(f"{path} is not an empty folder any more; choose another --out.") from error
        raise
    finally:
        if held is not None:
            os.close(held)


def _lock(folder: Path) -> int:
    """Keep others from locking a folder until the descriptor that is returned is closed or the process ends.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: there is none, or its disk locks no folders.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _locked_temporary(path: Path) -> tuple[Path, int | None]:
    """A new folder beside ``path``, and the descriptor that locks it; None on disks that lock no folders."""
    while True:
        temporary = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")
        temporary.mkdir(parents=True)
        try:
            held = _lock(temporary)
        except (BlockingIOError, FileNotFoundError):  # before it was locked, another process took it for abandoned
            continue
        except OSError:
            return temporary, None
        if temporary.exists():
            return temporary, held
        os.close(held)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders of ``path`` that no process has locked."""
    for folder in path.parent.glob(".tmp-*"):
        if is_temporary(folder.name) and folder.name[14:] == path.name:  # behind .tmp-01234567-
            with suppress(OSError):  # in use, gone by now, or on a disk where that cannot be told
                held = _lock(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


@contextmanager
def new_files(folder: Path) -> Iterator[Path]:
    """A folder to fill with files that belong together: they move into ``folder``, each in place of an earlier one of
    its name, when the block ends well; otherwise nothing changes there.

    Raises:
        UserError: the disk is full.
    """
    temporary = folder / f".tmp-{secrets.token_hex(4)}-files"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in temporary.iterdir():
            os.replace(path, folder / path.name)
    except Exception as error:
        # safetensors has an error of its own for it
        if getattr(error, "errno", None) in _FULL or f"os error {errno.ENOSPC}" in str(error):
            raise UserError(f"The disk is full: {folder} cannot be written; free space and try again.") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is one that was not finished."""
    return re.fullmatch(r"\.tmp-[0-9a-f]{8}-.+", name, re.DOTALL) is not None


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left of unfinished files below a folder, where nobody may be writing but in folders
    below that are held (:func:`mmgen.data.writing.unfinished.alone_in`): those are left alone."""
    for parent, folders, names in os.walk(folder):
        if parent != str(folder) and is_held(parent):
            folders.clear()
            continue
        for name in filter(is_temporary, names):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(parent, name))
        for name in filter(is_temporary, list(folders)):
            if not is_held(os.path.join(parent, name)):
                shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
            folders.remove(name)


def is_held(folder: str | Path) -> bool:
    """Whether a process holds a folder by a lock; not known, and so false, on network disks that lock no folders."""
    with suppress(OSError):  # no lock, or no folder any more
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
