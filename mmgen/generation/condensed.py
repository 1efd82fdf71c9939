"""Condensed sets of any method as data sets, and what is said of their sizes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmgen.artifacts.models import model_digest
from mmgen.condensation.condenser import Condenser
from mmgen.condensation.medsynth import condense
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import label_key
from mmgen.data.samples import Samples
from mmgen.data.sources import Reading
from mmgen.data.threads import one_thread
from mmgen.data.writing.writer import SyntheticSample
from mmgen.errors import UserError, first_few
from mmgen.generation.pairs import read_sources
from mmgen.generation.writing import OutputOptions, write_samples
from mmgen.models.condensed import CondensedModel
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.models.real_images import RealImages
from mmgen.names import IMAGE
from mmgen.version import __version__

logger = logging.getLogger(__name__)


def from_real_images(
    generator: MedSynthGenerator,
    path: Path,
    images_per_class: int,
    seed: int,
    reading: Reading | None = None,
    split: str | None = "train",
) -> Samples:
    """A condensed set of a generator that starts from real images, of random ones of these files; classes are matched
    by name, see :func:`mmgen.generation.pairs.read_sources`.

    Raises:
        UserError: a class without images, or files that cannot be read.
    """
    real = read_sources(generator, {IMAGE: path}, reading, split)[IMAGE]
    own = {label_key(name): label for label, name in enumerate(generator.class_names)}
    classes = np.array([own[label_key(name)] for name in real.label_names])
    labels = classes[real.labels]
    without = [name for label, name in enumerate(generator.class_names) if label not in labels]
    if without:
        raise UserError(f"{path} has no images of {first_few(without)} to start from; add some of every class.")
    with one_thread():
        return condense(generator, RealImages(real.values, torch.from_numpy(labels)), images_per_class, seed)


def refuse_too_few(model: CondensedModel, images_per_class: int) -> None:
    """Raise UserError if a model holds fewer images of some class."""
    counts = {name: model.available(label) for label, name in enumerate(model.class_names)}
    short = [name for name, count in counts.items() if count is not None and count < images_per_class]
    if short:
        raise UserError(
            f"There are fewer than {images_per_class} images of {first_few(short)}; choose a smaller number."
        )


def write_condensed(
    model: CondensedModel,
    images_per_class: int,
    seed: int,
    folder: Path,
    how: OutputOptions | None = None,
    model_name: str = "",
    made: Samples | None = None,
    chosen_from: int | None = None,
) -> Path:
    """Write a condensed set as a data set.

    Args:
        model_name: what to call the model in the metadata; a digest of its weights if empty.
        made: the set, where it is another than the model's first images.
        chosen_from: draws of each class that it was chosen from, if it was.

    Raises:
        UserError: no positive number of images, more than there are, a negative seed, or see
            :func:`mmgen.generation.writing.write_samples`.
    """
    if images_per_class < 1 or seed < 0:
        raise UserError(f"At least 1 image a class is made, from a seed of 0 or more, not {images_per_class}, {seed}.")
    labels = model.class_names
    refuse_too_few(model, images_per_class)
    if model.method == "subset":
        logger.warning("A subset holds real images: it is for comparison here and may not be shared.")
    channels, size, _ = model.shape
    model_name = model_name or model_digest(model)

    def make(batches: Sequence[range], device: torch.device) -> Iterator[SyntheticSample]:
        for index, image in _images(model.to(device), batches, images_per_class, seed, made):
            yield SyntheticSample(index, {IMAGE: image}, {})

    def describe(index: int) -> dict[str, Any]:
        row = {"label": labels[index // images_per_class], "index": index, "seed": seed, "model": model_name}
        return row | {"may_hold_real_pixels": model.may_hold_real_pixels}

    about: dict[str, Any] = {
        "generator": {"library": f"mmgen {__version__}", "method": model.method, "model": model_name},
        "seed": seed,
        "per_class": images_per_class,
        "input_prior": model.origin,
        "copies_real_data": model.may_hold_real_pixels,
    }
    about |= {} if chosen_from is None else {"chosen_from": chosen_from}
    run = {
        "seed": seed,
        "images per class": images_per_class,
        "labels": list(labels),
        "model": model_digest(model),
        "model name": model_name,
        "images": None if made is None else hashlib.sha256(made.values[:].tobytes()).hexdigest()[:12],
        "versions": f"mmgen {__version__}, torch {torch.__version__}",
    }
    settings = {IMAGE: ImageSettings(size, channels)}
    return write_samples(folder, settings, labels, images_per_class, make, describe, about, run, how or OutputOptions())


def write_set_of(condenser: Condenser, images_per_class: int, seed: int, folder: Path, how: OutputOptions) -> Path:
    """Write the condensed set of a finished fit; see :func:`write_condensed`."""
    with one_thread():  # as where a model makes its images itself
        made = condenser.chosen(images_per_class, seed)
    chosen_from = None if made is None else condenser.choose_from
    return write_condensed(condenser.model, images_per_class, seed, folder, how, made=made, chosen_from=chosen_from)


def _images(
    model: CondensedModel, batches: Sequence[range], per_class: int, seed: int, made: Samples | None
) -> Iterator[tuple[int, Any]]:
    """(index, uint8 (C, H, W)) of all indices, which count class after class."""
    for batch in batches:
        if made is not None:
            yield from zip(batch, made.values[batch.start : batch.stop], strict=True)
            continue
        start = batch.start
        while start < batch.stop:  # a batch may reach into the next class
            label, first = divmod(start, per_class)
            last = min(per_class, first + batch.stop - start)
            with one_thread():  # the last bits depend on the number of threads, which differs between processes
                images = torch.cat(list(model.batches(label, range(first, last), seed))).numpy()
            yield from zip(range(start, start + len(images)), images, strict=True)
            start += len(images)
