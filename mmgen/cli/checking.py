"""``mmgen check`` and ``mmgen phantoms``: real data before a training, and data to try things out on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mmgen.cli.data_flags import DataFlags
from mmgen.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Check(DataFlags):
    """List what is wrong with real data before a training, or verify a synthetic data set. Exits with 1 on problems."""

    dataset: Annotated[Path | None, tyro.conf.Positional] = None
    """Synthetic data set to verify against its checksums."""
    images: Path | None = None
    """Folder, CSV or shards of real images."""
    audio: Path | None = None
    """Folder, CSV or shards of real recordings."""
    refuse_unpaired: bool = False
    """Count a label that one side lacks as a problem, instead of leaving it out."""


@dataclass(frozen=True)
class Phantoms:
    """Write phantom data, the embedded data of the recipes."""

    out: Path
    """Folder to write images/ and audio/ into, or the data set itself if it is of one modality."""
    kind: Literal["xrays-and-coughs", "lesions", "brains"] = "xrays-and-coughs"
    """Kind of data: both modalities of one recipe, or the pictures of another."""
    subjects_per_class: int = 60
    """Phantom subjects of each label and modality."""
    image_size: int = 128
    """Side of the pictures."""
    seed: int = 0
    """Seed of everything."""


def check(options: Check) -> dict[str, Any]:
    """Run ``mmgen check``."""
    from mmgen.data.audio_settings import AudioSettings
    from mmgen.data.check import check_data
    from mmgen.data.images import ImageSettings
    from mmgen.data.sources import reading_of
    from mmgen.data.writing.verify import verify_dataset

    paths = {"image": options.images, "audio": options.audio}
    # Whole files are decoded; of what they hold a small picture tells enough.
    settings = {"image": ImageSettings(32), "audio": AudioSettings()}
    if (options.dataset is None) == (paths["image"] is None and paths["audio"] is None):
        raise UserError("Give --images and --audio (or one of them) to check real data, or a synthetic data set.")
    if options.dataset is not None:
        problems = verify_dataset(options.dataset)
        for line in problems or [f"{options.dataset} is whole: every file is there and as it was written."]:
            logger.info("%s", line)
    else:
        reading = reading_of(options, refuse_unpaired=options.refuse_unpaired)
        given = {name: path for name, path in paths.items() if path is not None}
        findings = check_data(reading.sources(given, settings), reading)
        problems = findings.overview.problems
        for line in findings.lines():
            logger.info("%s", line)
    return {"checked": options.dataset or paths, "problems": problems}


def phantoms(options: Phantoms) -> dict[str, Any]:
    """Run ``mmgen phantoms``."""
    from mmgen.data.phantoms import write_phantom_images, write_phantoms

    amount = (options.subjects_per_class, options.seed, options.image_size)
    if options.kind == "xrays-and-coughs":
        folders = write_phantoms(options.out, *amount)
    else:
        folders = (write_phantom_images(options.out, options.kind, *amount),)
    logger.info("Phantom data are in %s", " and ".join(map(str, folders)))
    return {"folders": folders}
