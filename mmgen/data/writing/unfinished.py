"""The folder of a data set before it is complete: marked with what is being written, so that it can go on."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmgen.data.opening import read_json
from mmgen.data.writing.atomic import is_temporary, new_file, remove_temporaries
from mmgen.data.writing.layout import LARGEST_DOCUMENT
from mmgen.errors import UserError, first_few

logger = logging.getLogger(__name__)

INCOMPLETE = "INCOMPLETE"
_NOTE = "This data set is still being written, or was interrupted: run the same command again, and it goes on."


@contextmanager
def alone_in(folder: Path, tidy: bool = False) -> Iterator[None]:
    """Make the folder and keep other runs from writing to it meanwhile; a killed process keeps nobody out. A folder
    that was made and got no content is removed again.

    Args:
        tidy: remove what killed runs left half written in it.

    Raises:
        UserError: another run is writing to it.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; choose another --out.")
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not folder.exists():  # its holder has removed it since
            raise BlockingIOError
    except BlockingIOError as error:
        holder = _holder(os.fstat(held).st_ino)
        os.close(held)
        raise UserError(
            f"Another run is writing to {folder}{holder}; wait for its end, or choose another --out."
        ) from error
    except OSError as error:  # some network disks lock no folders
        logger.warning("%s cannot be locked (%s): let no other run write to it.", folder, error.strerror)
    try:
        if tidy:
            remove_temporaries(folder)
        yield
    finally:
        if is_new:
            with suppress(OSError):  # it has content, as usual
                folder.rmdir()
        os.close(held)


def _holder(inode: int) -> str:
    """ " (process 1234)" of the process that holds a file or folder; "" where the system does not say."""
    try:  # 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        pids = [int(line[4]) for line in lines if line[1] == "FLOCK" and line[5].endswith(f":{inode}")]
    except (OSError, ValueError, IndexError):
        return ""
    return f" (process {pids[0]})" if pids and pids[0] > 0 else ""  # 0: of another container


def prepare_folder(folder: Path, overwrite: bool, run: Mapping[str, Any]) -> bool:
    """Make room for a data set, or find an interrupted one of the same run to go on with.

    Args:
        overwrite: clear the folder of an earlier data set. One that was interrupted is gone on with all the same if it
            is of this run: nothing would be made otherwise.
        run: everything that the bytes of the data set depend on, by a name that users understand; JSON-able.

    Returns:
        Whether a part of the data set may be there already.

    Raises:
        UserError: the folder holds something, and ``overwrite`` is off or it is no synthetic data set.
    """
    run = json.loads(json.dumps(run))
    # A process that was killed before it had marked the folder leaves the temporary name of the mark.
    if folder.is_dir() and any(not is_temporary(child.name) for child in folder.iterdir()):
        marked = _read_object(folder / INCOMPLETE)
        ours = marked.get("note") == _NOTE and isinstance(marked.get("run"), dict)
        mark = marked["run"] if ours else None  # {} if it was being cleared
        if mark is not None and mark == run:
            remove_temporaries(folder)
            return True
        if not overwrite:
            raise UserError(_refusal(folder, mark, run))
        # Other software (nnU-Net) calls its files dataset.json too.
        if mark is None and _read_object(folder / "dataset.json").get("synthetic") is not True:
            raise UserError(
                f"{folder} holds files that are no synthetic data set and are not deleted; choose another --out."
            )
        _write_mark(folder, {})  # meanwhile nothing here is to be gone on with
        for child in folder.iterdir():  # not the folder itself, which may be a link or a mount point
            if child.name != INCOMPLETE:
                shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    _write_mark(folder, run)
    return False


def _refusal(folder: Path, mark: Mapping[str, Any] | None, run: Mapping[str, Any]) -> str:
    if mark is None:
        return f"{folder} is not empty; choose another --out, or add --overwrite to replace the data set in it."
    changed = [
        f"{key} ({_short(mark.get(key))}, now {_short(run.get(key))})"
        for key in dict.fromkeys([*run, *mark])
        if mark.get(key) != run.get(key)
    ]
    return (
        f"{folder} holds an interrupted data set that differs in {first_few(changed)}; give it the same command again "
        "to go on, add --overwrite to start anew, or choose another --out."
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} if there is none."""
    try:
        value = read_json(path, LARGEST_DOCUMENT)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_mark(folder: Path, run: Mapping[str, Any]) -> None:
    # Synced: without the mark nobody could tell the files that follow from other people's.
    with new_file(folder / INCOMPLETE, sync=True) as file:
        file.write(json.dumps({"note": _NOTE, "run": run}, ensure_ascii=False, indent=1).encode())
