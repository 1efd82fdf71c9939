"""Evaluation of a condensed image set and its generator: is it good for training, how near is it to single images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from timm.models.vision_transformer import VisionTransformer

from mmgen.condensation.medsynth import MedSynth
from mmgen.data.loading import PairedData
from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.measure import measure_by_pixels
from mmgen.evaluation.fidelity.result import COPY_DISTANCE, FidelityResult
from mmgen.evaluation.neighbours import nearest
from mmgen.evaluation.report import figures_condensation as figures
from mmgen.evaluation.report.media import Figure, ReportMedia, Sample
from mmgen.evaluation.scores import Utility, with_recovery
from mmgen.evaluation.training_sets import random_subset
from mmgen.evaluation.utility import UtilityConfig, utility
from mmgen.models.modality import Modality
from mmgen.names import IMAGE, NetworkName
from mmgen.training.run import read_metrics

if TYPE_CHECKING:
    from accelerate import Accelerator

# (images per class, seed) -> condensed set
Draw = Callable[[int, int], Samples]


@dataclass(frozen=True)
class CondensedSets:
    """Real images, and the condensed sets that a generator gives.

    Attributes:
        train, test: real images.
        modality: of these images.
        draw: condensed sets of the finished generator.
        draw_phase1: of the generator before its last phase; None where there was none.
        images_per_class: sizes of the sets that are measured, ascending.
        backbone: what "vit_lora" starts from.
        seed: seed of the first draw, the one that is stored.
        test_subjects: (N,) whose image each of ``test`` is; None: every file is another subject's.
    """

    train: Samples
    test: Samples
    modality: Modality
    draw: Draw
    images_per_class: Sequence[int]
    draw_phase1: Draw | None = None
    backbone: VisionTransformer | None = None
    seed: int = 0
    test_subjects: np.ndarray | None = None

    @classmethod
    def of(cls, model: MedSynth, data: PairedData, images_per_class: Sequence[int], seed: int) -> CondensedSets:
        """Of a fitted model and its data. All training images count: a ratio is one of all of them, and a copy may be
        of any."""
        test = data.splits["test"][IMAGE].at_most()
        return cls(
            data.splits["train"][IMAGE],
            test,
            model.modality,
            model.sample,
            images_per_class,
            model.sample_phase1,
            model.backbone,
            seed,
            test.subject_numbers(),
        )

    @property
    def largest(self) -> int:
        """Most images per class."""
        return max(self.images_per_class)


def evaluate_condensed(
    sets: CondensedSets,
    config: UtilityConfig,
    classifiers: Sequence[NetworkName],
    accelerator: Accelerator,
    sizes: Mapping[str, Any],
    history: list[dict[str, Any]],
) -> tuple[dict[str, Any], ReportMedia]:
    """Report sections ``condensation``, ``utility`` and ``fidelity``, and the media beside them.

    Args:
        sizes: see :func:`sizes`.
        history: rows of the training, see :func:`phase_history`.
    """
    synthetic = sets.draw(sets.largest, sets.seed)
    attention = [row["mean_attention"] for row in history if row.get("mean_attention") is not None]
    sections = {
        "condensation": dict(sizes) | {"mean_attention": attention[-1] if attention else None},
        "utility": measure_utility(sets, config, classifiers, accelerator),
        "fidelity": fidelity_section(sets, synthetic),
    }
    media = ReportMedia(condensed_figures(sets, synthetic, history), condensed_samples(sets, synthetic))
    return sections, media


def phase_history(run: Path) -> list[dict[str, Any]]:
    """Rows of the logs of both phases of a run."""
    return [
        {**row, "phase": number} for number in (1, 2) for row in read_metrics(run / f"phase{number}" / "metrics.jsonl")
    ]


def measure_utility(
    sets: CondensedSets,
    config: UtilityConfig,
    classifiers: Sequence[NetworkName],
    accelerator: Accelerator,
) -> dict[str, Any]:
    """Report section ``utility``: classifiers trained on all real images, on random real subsets and on condensed sets
    of the same size, and on fresh synthetic samples; tested on real images.

    Subsets and condensed sets are drawn anew for every seed. "synthetic_fresh" has as many samples as the real set, or
    as one training looks at. The ViT, whose cost is that of its own input size, gets images of full size.
    """
    seeds = range(sets.seed, sets.seed + config.seeds)
    training: dict[str, Samples | list[Samples]] = {"real": sets.train}
    for count in sets.images_per_class:
        training[f"random_subset@{count}"] = [random_subset(sets.train, count, seed) for seed in seeds]
        training[f"synthetic@{count}"] = [sets.draw(count, seed) for seed in seeds]
    if sets.draw_phase1 is not None:
        training[f"synthetic_phase1@{sets.largest}"] = [sets.draw_phase1(sets.largest, seed) for seed in seeds]
    fresh = min(len(sets.train), config.updates * config.batch_size) // len(sets.train.label_names)
    if fresh > sets.largest:
        training["synthetic_fresh"] = sets.draw(fresh, sets.seed)
    by_classifier = {}
    for classifier in classifiers:
        settings = config.of_classifier(classifier, sets.modality)
        scores = utility(sets.modality, training, sets.test, settings, accelerator, sets.backbone)
        # Recovery is that of a condensed set, beside the random subset of its size.
        by_classifier[classifier] = {
            name: with_recovery(scores, name, f"random_subset@{name.partition('@')[2]}")
            if "@" in name and not name.startswith("random_subset")
            else replace(entry, recovery=float("nan"))
            for name, entry in scores.items()
        }
    return {sets.modality.name: by_classifier}


def compared_aucs(utility: Utility, images_per_class: Sequence[int]) -> list[tuple[str, int, float, float, float]]:
    """(classifier, images a class, AUC of the condensed set, of a random real subset, of all real images)."""
    return [
        (classifier, n, *(scores[key].auc.mean for key in (f"synthetic@{n}", f"random_subset@{n}", "real")))
        for by_classifier in utility.values()
        for classifier, scores in by_classifier.items()
        for n in images_per_class
    ]


def fidelity_section(sets: CondensedSets, synthetic: Samples) -> dict[str, Any]:
    """Report section ``fidelity`` of a condensed set: closeness, variety, distance to the nearest training image.

    ``exact_copies`` counts synthetic images that are less than one grey level from a training image. Neither a small
    nor a large distance is better: much smaller than real against real speaks of copies, much larger of images that
    look wrong.
    """
    to_train, real = (nearest(side.values, sets.train.values)[0] for side in (synthetic, sets.test))
    medians = float(np.median(to_train)), float(np.median(real))
    distance = FidelityResult(*medians, better=None, exact_copies=int((to_train < 1.0).sum()))
    closeness = measure_by_pixels(sets.modality, sets.test, synthetic, subjects=sets.test_subjects, seed=sets.seed)
    return {sets.modality.name: {**closeness, COPY_DISTANCE: distance}}


def sizes(
    sets: CondensedSets, method: str, input_prior: str, data_bytes: int, generator_bytes: int, parameters: int
) -> dict[str, Any]:
    """Report section ``condensation``: what became smaller, and by how much."""
    classes, real = len(sets.train.label_names), len(sets.train)
    return {
        "method": method,
        "input_prior": input_prior,
        "real_images": real,
        "data_bytes": data_bytes,
        "generator_bytes": generator_bytes,
        "parameters": parameters,
        "ipc": {
            str(count): {"images": count * classes, "ratio": count * classes / real} for count in sets.images_per_class
        },
    }


def condensed_figures(sets: CondensedSets, synthetic: Samples, history: list[dict[str, Any]]) -> list[Figure]:
    """Pictures of every class, samples beside their nearest training images, and how the training went."""
    names, labels = synthetic.label_names, synthetic.labels
    by_class = {name: synthetic.values[np.flatnonzero(labels == c)[:8]] for c, name in enumerate(names)}
    rows = np.concatenate([np.flatnonzero(labels == c)[:2] for c in range(len(names))])
    queries = synthetic.values[rows]
    distances, neighbours = nearest(queries, sets.train.values, min(3, len(sets.train)))
    cells = [[query, *sets.train.values[near]] for query, near in zip(queries, neighbours, strict=True)]
    titles = ["synthetic", *(f"training, {i + 1}." for i in range(neighbours.shape[1]))]
    shown = [
        Figure(
            "Synthetic images by class",
            "The first images of the condensed set. Each row should look like its class.",
            f"Grid of synthetic images, a row for each of {', '.join(names)}.",
            figures.class_grid(by_class),
        ),
        Figure(
            "Nearest training images",
            "Synthetic images beside the real training images nearest to them, with the distance in grey levels. A "
            "pair that looks the same is a copy.",
            "Rows of a synthetic image and its nearest training images.",
            figures.neighbour_grid(cells, [names[label] for label in labels[rows]], titles, distances.tolist()),
            shows_real=True,
        ),
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


def condensed_samples(sets: CondensedSets, synthetic: Samples, per_class: int = 4) -> list[Sample]:
    """Real test images and synthetic ones of every class, for the report."""
    return [
        Sample(name, source, image)
        for source, samples in (("real", sets.test), ("synthetic", synthetic))
        for label, name in enumerate(samples.label_names)
        for image in samples.values[np.flatnonzero(samples.labels == label)[:per_class]]
    ]
