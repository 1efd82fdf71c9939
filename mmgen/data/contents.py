"""Whether files still hold what they held when a run began: their stamps tell that, and where these differ, as after
copying or touching a file, digests of their content."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmgen.data.decoding import DecodedFiles
from mmgen.data.opening import open_regular
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError, first_few

logger = logging.getLogger(__name__)


def refuse_changed(path: Path, files: Mapping[str, DecodedFiles]) -> None:
    """Compare files with what :func:`write_contents` wrote of the same ones, by modality and in the same order; no
    file at ``path``, as of a run of an earlier version, is taken for no change.

    Only files whose stamps differ are read. If their content was not known then, as of very many pictures that are
    decoded when training first meets them, a warning says so.

    Raises:
        UserError: files have another content, or ``path`` is damaged.
    """
    if not path.is_file():
        return
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as stored:
            earlier = {name: stored[name].reshape(2, len(own.paths)) for name, own in files.items()}
    except Exception as error:  # zipfile and numpy raise all kinds
        raise UserError(f"{path} is damaged; remove it to go on with the data taken on trust.") from error
    changed, unknown = [], 0
    for name, own in files.items():
        own.look_at_rest()
        stamps, contents = earlier[name]
        differs = stamps != own.stamps
        own.look_into(np.flatnonzero(differs & (contents != 0) & (own.contents == 0)))
        known = (contents != 0) & (own.contents != 0)
        changed += [own.name(row) for row in np.flatnonzero(differs & known & (contents != own.contents)).tolist()]
        unknown += int((differs & ~known).sum())
        own.contents[~differs & (own.contents == 0)] = contents[~differs & (own.contents == 0)]
    if changed:
        raise UserError(
            f"{first_few(changed)} changed since the run in {path.parent} began; bring the files back as they were, or "
            "start a new run."
        )
    if unknown:
        logger.warning("Whether %d files changed since the run began is not known: only their times did.", unknown)


def write_contents(path: Path, files: Mapping[str, DecodedFiles]) -> None:
    """Write stamps and digests of files, by modality."""
    for own in files.values():
        own.look_at_rest()
    with new_file(path) as file:
        np.savez(file, **{name: np.stack([own.stamps, own.contents]) for name, own in files.items()})
