"""Samples of a manifest without a look at the rest of the data."""

from __future__ import annotations

from mmgen.data.cache import Cache
from mmgen.data.decoding import DecodedFiles, unusable
from mmgen.data.manifest import Manifest
from mmgen.data.samples import Samples, samples_of
from mmgen.data.settings import Settings
from mmgen.errors import UserError


def load_samples(manifest: Manifest, settings: Settings, cache: Cache | None = None) -> Samples:
    """Samples of every file; raises UserError that names all files which cannot be used."""
    files = DecodedFiles(manifest.files, manifest.paths, settings, cache)
    problems = files.fill()
    if problems:
        raise UserError(unusable([f"{manifest.name(row)} ({reason})" for row, reason in problems.items()]))
    return samples_of(manifest, files)
