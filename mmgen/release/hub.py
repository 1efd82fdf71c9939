"""Uploading what was released to the Hugging Face hub."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from mmgen.data.opening import read_json
from mmgen.data.progress import Stream
from mmgen.data.writing.layout import DOCUMENT, LARGEST_DOCUMENT, sha256
from mmgen.errors import UserError, refuse_broken_package, shown


def push_to_hub(folder: str | Path, name: str, public: bool = False) -> dict[str, str]:
    """Upload a release: its model, and each of its data sets, as repositories of this name; their addresses by part.

    Uploaded is what :func:`mmgen.release.releasing.write_release` wrote, to the byte, and nothing else. Of several data
    sets each has its own name behind this one, as ``organisation/name-ipc10``. What an earlier upload left in such a
    repository is replaced.

    Args:
        folder: folder of the release.
        name: ``organisation/name`` on the hub.
        public: let everybody see new repositories; they are private otherwise.

    Raises:
        UserError: the folder is no release or was changed since, or the hub does not take it.
    """
    folder = Path(folder)
    _refuse_changed(folder)
    sets = sorted(path.parent.relative_to(folder) for path in folder.glob(f"**/{DOCUMENT}"))
    parts = {part.as_posix(): ("dataset", name if len(sets) == 1 else f"{name}-{part.name}") for part in sets}
    if (folder / "model").is_dir():
        parts["model"] = ("model", name)
    return {part: _upload(folder / part, *kind_and_name, public) for part, kind_and_name in parts.items()}


def _upload(folder: Path, kind: str, name: str, public: bool) -> str:
    try:
        from huggingface_hub import HfApi

        with redirect_stdout(Stream(sys.stderr)):
            hub = HfApi()
            address = hub.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
            hub.upload_folder(folder_path=folder, repo_id=name, repo_type=kind, delete_patterns="*")
        return str(address)
    except Exception as error:
        refuse_broken_package(error)
        reason = shown(" ".join(str(error).split()).rstrip(".") or type(error).__name__, 400)
        raise UserError(
            f"The hub does not take {folder} as {shown(name)} ({reason}); log in with 'hf auth login', check the name, "
            "and run the same command again."
        ) from error


def _refuse_changed(folder: Path) -> None:
    """Raise UserError for a folder that does not hold exactly what its ``release.json`` lists."""
    try:
        files = read_json(folder / "release.json", LARGEST_DOCUMENT)["files"]
        digests = {str(name): about["sha256"] for name, about in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder} is no release ({shown(error)}); give the folder that mmgen release wrote."
        ) from error
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (path.is_dir() and not path.is_symlink()) or name in ("release.json", "SHA256SUMS"):
            continue
        if path.is_symlink() or not path.is_file() or digests.pop(name, None) != sha256(path):
            raise UserError(f"{path} is not as it was released; release it again.")
    if digests:
        raise UserError(f"{folder} lacks {shown(next(iter(digests)))} of its release; release it again.")
