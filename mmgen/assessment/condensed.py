"""Evaluation of a condensed image set and its generator: is it good for training, how near is it to single images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from timm.models.vision_transformer import VisionTransformer

from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.closeness import closeness
from mmgen.evaluation.neighbours import nearest, nearest_entry
from mmgen.evaluation.report import figures_condensation as figures
from mmgen.evaluation.report.media import Figure, Sample
from mmgen.evaluation.training_sets import random_subset
from mmgen.evaluation.utility import UtilityConfig, recovery, utility
from mmgen.models.modality import Modality
from mmgen.names import ClassifierName

if TYPE_CHECKING:
    from accelerate import Accelerator

# (images per class, seed) -> condensed set
Draw = Callable[[int, int], Samples]


@dataclass(frozen=True)
class CondensedSets:
    """What is evaluated.

    Attributes:
        train, test: real images.
        modality: of these images.
        draw: condensed sets of the finished generator.
        draw_phase1: of the generator before its last phase; None where there was none.
        images_per_class: sizes of the sets that are measured, ascending.
        backbone: what "vit_lora" starts from.
        seed: seed of the first draw, the one that is stored.
        test_people: (N,) whose image each of ``test`` is; None: every file is another person's.
    """

    train: Samples
    test: Samples
    modality: Modality
    draw: Draw
    images_per_class: Sequence[int]
    draw_phase1: Draw | None = None
    backbone: VisionTransformer | None = None
    seed: int = 0
    test_people: np.ndarray | None = None

    @property
    def largest(self) -> int:
        """Most images per class."""
        return max(self.images_per_class)


def measure_utility(
    what: CondensedSets,
    config: UtilityConfig,
    classifiers: Sequence[ClassifierName],
    accelerator: Accelerator,
) -> dict[str, Any]:
    """Report section ``utility``: classifiers trained on all real images, on random real subsets and on condensed sets
    of the same size, and on fresh synthetic samples; tested on real images.

    Subsets and condensed sets are drawn anew for every seed. "synthetic_fresh" has as many samples as the real set, or
    as one training looks at. The ViT, whose cost is that of its own input size, gets images of full size.
    """
    seeds = range(what.seed, what.seed + config.seeds)
    sets: dict[str, Samples | list[Samples]] = {"real": what.train}
    for count in what.images_per_class:
        sets[f"random_subset@{count}"] = [random_subset(what.train, count, seed) for seed in seeds]
        sets[f"synthetic@{count}"] = [what.draw(count, seed) for seed in seeds]
    if what.draw_phase1 is not None:
        sets[f"synthetic_phase1@{what.largest}"] = [what.draw_phase1(what.largest, seed) for seed in seeds]
    fresh = min(len(what.train), config.updates * config.batch_size) // len(what.train.label_names)
    if fresh > what.largest:
        sets["synthetic_fresh"] = what.draw(fresh, what.seed)
    measured = {}
    for classifier in classifiers:
        own_size = max(what.modality.shape[1:]) if classifier == "vit_lora" else config.max_side
        how = replace(config, classifier=classifier, max_side=max(own_size, 32))
        scores = utility(what.modality, sets, what.test, how, accelerator, what.backbone)
        for name, entry in scores.items():
            entry["recovery"] = _recovery(scores, name)
        measured[classifier] = scores
    return {what.modality.name: measured}


def _recovery(scores: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    """Recovery of a condensed set, beside the random subset of its size; None for other sets."""
    kind, _, count = name.partition("@")
    if not count or kind == "random_subset":
        return None
    return recovery(*(scores[key]["auc"]["mean"] for key in ("real", f"random_subset@{count}", name)))


def fidelity_section(what: CondensedSets, made: Samples) -> dict[str, Any]:
    """Report section ``fidelity`` of a condensed set: closeness, variety, distance to the nearest training image."""
    return {
        what.modality.name: {
            **closeness(what.modality, what.test, made, people=what.test_people, seed=what.seed),
            "nearest_training_distance": nearest_entry(made.values, what.train.values, what.test.values),
        }
    }


def sizes(
    what: CondensedSets, method: str, input_prior: str, data_bytes: int, generator_bytes: int, parameters: int
) -> dict[str, Any]:
    """Report section ``condensation``: what became smaller, and by how much."""
    classes, real = len(what.train.label_names), len(what.train)
    return {
        "method": method,
        "input_prior": input_prior,
        "real_images": real,
        "data_bytes": data_bytes,
        "generator_bytes": generator_bytes,
        "parameters": parameters,
        "ipc": {
            str(count): {"images": count * classes, "ratio": count * classes / real} for count in what.images_per_class
        },
    }


def condensed_figures(what: CondensedSets, made: Samples, history: list[dict[str, Any]]) -> list[Figure]:
    """Pictures of every class, samples beside their nearest training images, and how the training went."""
    by_class = {
        name: made.values[np.flatnonzero(made.labels == label)[:8]] for label, name in enumerate(made.label_names)
    }
    shown = [
        Figure(
            "Synthetic images by class",
            "The first images of the condensed set. Each row should look like its class.",
            f"Grid of synthetic images, a row for each of {', '.join(made.label_names)}.",
            figures.class_grid(by_class),
        ),
        _neighbours(what, made),
    ]
    if history:
        shown.append(
            Figure(
                "Training",
                "How far the critic tells real from synthetic, gradients, share of the input in the output (mean "
                "attention), and in phase II the distance that is matched.",
                "Curves of critic gap, gradient norms, mean attention and matching loss against epochs.",
                figures.gan_curves(history),
            )
        )
    return shown


def _neighbours(what: CondensedSets, made: Samples, per_class: int = 2, count: int = 3) -> Figure:
    rows = np.concatenate([np.flatnonzero(made.labels == c)[:per_class] for c in range(len(made.label_names))])
    queries = made.values[rows]
    distances, found = nearest(queries, what.train.values, min(count, len(what.train)))
    cells = [[query, *what.train.values[near]] for query, near in zip(queries, found, strict=True)]
    names = [made.label_names[label] for label in made.labels[rows]]
    titles = ["synthetic", *(f"training, {i + 1}." for i in range(found.shape[1]))]
    return Figure(
        "Nearest training images",
        "Synthetic images beside the real training images nearest to them, with the distance in grey levels. A pair "
        "that looks the same is a copy.",
        "Rows of a synthetic image and its nearest training images.",
        figures.neighbour_grid(cells, names, titles, distances.tolist()),
        shows_real=True,
    )


def condensed_samples(what: CondensedSets, made: Samples, per_class: int = 4) -> list[Sample]:
    """Real test images and synthetic ones of every class, for the report."""
    return [
        Sample(name, source, image)
        for source, samples in (("real", what.test), ("synthetic", made))
        for label, name in enumerate(samples.label_names)
        for image in samples.values[np.flatnonzero(samples.labels == label)[:per_class]]
    ]
