"""Decoding phantom files into a cache, in a process of its own that may be killed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from decoded_samples import load_samples

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.cache import Cache
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import read_manifest
from mmgen.data.settings import kind_of


def fill(folder: Path, cache: Path, digests: Path | None = None) -> None:
    """Decode everything; write the digests of all samples to a file."""
    lines = []
    for name, settings in (("images", ImageSettings(64)), ("audio", AudioSettings())):
        manifest = read_manifest(folder / name, kind_of(settings).suffixes)
        samples = load_samples(manifest, settings, Cache(cache, 10**9))
        lines += [hashlib.sha256(values.tobytes()).hexdigest() for values in samples.values]
    if digests is not None:
        digests.write_text("\n".join(lines))
