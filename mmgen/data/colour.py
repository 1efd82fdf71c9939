"""Whether images have colour, seen from a few of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mmgen.data.decoding import DecodedFiles
from mmgen.data.images import ImageSettings
from mmgen.data.overview import read_matched
from mmgen.data.sources import Reading, Source
from mmgen.names import IMAGE

# Images that are looked at, and the side that they are reduced to.
_COUNT, _SIDE = 32, 32


def are_grey(source: Source) -> bool:
    """Whether none of some images, all over the set, has a colour; those that cannot be read are passed over."""
    source = replace(source, settings=ImageSettings(_SIDE, 3))
    manifest = read_matched({IMAGE: source}, Reading(skip_bad=True))[IMAGE]
    rows = np.unique(np.linspace(0, len(manifest) - 1, _COUNT).round().astype(int))
    files = DecodedFiles(manifest.files, [manifest.paths[row] for row in rows], source.settings, None)
    unreadable = files.fill(progress=False)
    readable = np.array([number for number in range(len(rows)) if number not in unreadable], dtype=np.int64)
    if not len(readable):
        return False
    values = files.read(readable, np.zeros_like(readable))
    return bool((values == values[:, :1]).all())
