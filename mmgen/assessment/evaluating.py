"""``mmgen.evaluate``: is a synthetic set useful, and how near is it to real data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from timm.models.vision_transformer import VisionTransformer

from mmgen.artifacts.models import model_digest
from mmgen.assessment.encoders import backbone_of, encoder_in, encoder_of
from mmgen.assessment.inputs import (
    DOCUMENT,
    Paths,
    data_sets_of,
    modality_of,
    parse_paths,
    patches_in,
    read_sides,
    read_synthetic,
    synthetic_settings,
)
from mmgen.assessment.shown import compared_media
from mmgen.data.labels import align_labels
from mmgen.data.manifest import label_key
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings, kind_of
from mmgen.data.sources import Reading
from mmgen.errors import UserError, first_few
from mmgen.evaluation.fidelity.features import OWN, Extractor, make_extractor
from mmgen.evaluation.fidelity.measure import measure_fidelity
from mmgen.evaluation.fidelity.result import FidelityResult, results_from_json
from mmgen.evaluation.measured import Measured, fingerprint
from mmgen.evaluation.plateau import lasting, reached
from mmgen.evaluation.privacy.sides import Side, unseen
from mmgen.evaluation.report.media import ReportMedia
from mmgen.evaluation.scores import UtilityScores
from mmgen.evaluation.training_sets import fold_of, four_sets, reduced
from mmgen.evaluation.typed_json import from_json
from mmgen.evaluation.utility import UtilityConfig, has_labels, utility, utility_by_folds
from mmgen.models.generative import GenerativeModel
from mmgen.models.modality import Modality
from mmgen.names import ClassifierName, LabelKind, NetworkName
from mmgen.training.engine import best_device, make_accelerator

logger = logging.getLogger(__name__)

# Batches of a short training.
SHORT = 20
_PARTS = 5  # of the real training data, one of which says how long to train


@dataclass(frozen=True)
class Measures:
    """The measures, and the networks that they need.

    Attributes:
        features: feature space of the fidelity measures, see :func:`make_extractor`; or a folder of a masked
            autoencoder, whose encoder is taken.
        classifiers: networks that measure utility of pictures.
        backbone: what "vit_lora" starts from: a timm name, NAME@FILE, or a folder of a masked autoencoder.
        utility: how they are trained, and whether on hard labels or on a data set's soft ones.
        sound_classifiers: those that measure utility of sounds.
        until_plateau: train each network for as many updates as help on the real data, a fifth of which, of other
            people, is held out to find them, from the number in ``utility`` on; see :mod:`mmgen.evaluation.plateau`.
    """

    features: str = "pixels"
    classifiers: Sequence[NetworkName] = ("resnet18", "convnet")
    backbone: str | None = None
    utility: UtilityConfig = field(default_factory=lambda: UtilityConfig(updates=100, max_side=32, balance="sampling"))
    sound_classifiers: Sequence[ClassifierName] = ("mfcc",)
    until_plateau: bool = False

    def __post_init__(self) -> None:
        if "vit_lora" in {*self.classifiers, *self.sound_classifiers} and self.backbone is None:
            raise UserError(
                "vit_lora adapts a pretrained network and none is named; give --backbone a timm name, NAME@FILE or the "
                "folder of a masked autoencoder."
            )

    def shortened(self) -> Measures:
        """With one short training of the first classifier of each kind alone."""
        short = replace(self.utility, updates=min(self.utility.updates, SHORT), seeds=1)
        first = {"classifiers": self.classifiers[:1], "sound_classifiers": self.sound_classifiers[:1]}
        return replace(self, **first, utility=short, until_plateau=False)

    def classifiers_of(self, settings: Settings) -> Sequence[ClassifierName]:
        """The classifiers that measure this kind of files."""
        return self.classifiers if kind_of(settings).is_picture else self.sound_classifiers


@dataclass(frozen=True)
class Evaluation:
    """Results of an evaluation.

    Attributes:
        sections: ``data``, ``utility`` (:data:`mmgen.evaluation.scores.Utility`) and ``fidelity``
            (:data:`mmgen.evaluation.fidelity.result.Fidelity`) of a report.
        test, synthetic, settings: what was compared, and how its files became arrays.
        reused: how many results were there from an earlier evaluation.
    """

    sections: Mapping[str, Any]
    test: Side = field(repr=False)
    synthetic: Mapping[str, Samples] = field(repr=False)
    settings: Mapping[str, Settings] = field(repr=False)
    reused: int = 0

    def media(self) -> ReportMedia:
        """Real and synthetic samples of every label, and distributions of values."""
        aligned = {name: align_labels(samples, self.test.samples[name]) for name, samples in self.synthetic.items()}
        return compared_media(self.test.samples, aligned, self.settings)


def evaluate(
    synthetic: str | Path,
    real: Paths,
    test: Paths,
    out: str | Path | None = None,
    *,
    modalities: Sequence[str] = (),
    measures: Measures | None = None,
    seed: int = 0,
    reading: Reading | None = None,
    real_split: str = "train",
    test_split: str = "test",
) -> Evaluation:
    """Measure a synthetic set of any origin beside the real data.

    Classifiers are trained on real, synthetic, both, and a random real subset as large as the synthetic set, and tested
    on real samples. Fidelity compares the synthetic set with the real test samples. A second call with the same ``out``
    on the same data computes nothing again.

    Args:
        synthetic: a data set of this library, a run that holds some, or a folder by label or CSV of any files.
        real: real data to train on: a path, or one for each modality. Of data with splits ``real_split`` is used.
        test: real data to test on; of data with splits ``test_split``.
        out: folder for what is kept of the results.
        modalities: which ones, all if empty.
        measures: features, classifiers and their training.
        seed: of everything; also that of the training, where it held out part of the data for validation.
        reading: how the real data are read.

    Raises:
        UserError: what is missing or does not fit, in one sentence.

    Example:
        >>> import mmgen
        >>> from mmgen.assessment.evaluating import Measures
        >>> brief = Measures(classifiers=["convnet"]).shortened()
        >>> result = mmgen.evaluate("synthetic", real="isic", test="isic", measures=brief)
        >>> list(result.sections)
        ['data', 'utility', 'fidelity']
    """
    reading, measures = reading or Reading(seed=seed), measures or Measures()
    samples, settings, patches = _read_sets(Path(synthetic), modalities, reading, measures.utility.labels)
    paths = [parse_paths(given, list(settings), flag) for given, flag in ((real, "--real"), (test, "--test"))]
    train, held_out = read_sides(*paths, settings, (real_split, test_split), reading)
    held_out = unseen(train, held_out)
    measured = Measured(None if out is None else Path(out) / "measured")
    encoder = encoder_in(measures.features)
    # All networks are had before anything is measured.
    compared = {
        name: _Compared.of(name, settings[name], train, held_out, samples[name], measures, encoder) for name in settings
    }
    sections: dict[str, Any] = {"data": {}, "utility": {}, "fidelity": {}}
    for name, one in compared.items():
        sections["data"][name] = one.counts()
        sections["utility"][name] = one.utility(measures, measured, seed)
        sections["fidelity"][name] = one.fidelity(measured, seed, patches.get(name))
    if measured.reused:
        logger.info("%d results were there from an earlier evaluation of the same data.", measured.reused)
    return Evaluation(sections, held_out, samples, settings, measured.reused)


@dataclass(frozen=True)
class _Compared:
    """One modality of the synthetic set and both parts of the real data, with the networks that look at it.

    Attributes:
        train, test, synthetic: with the label names of ``train``.
        train_subjects, test_subjects: (N,) whose sample each is, None if unknown.
        extractor: of features.
        encoder: model whose encoder the extractor is, None of another one.
        backbone: what "vit_lora" starts from; None without it.
    """

    modality: Modality
    settings: Settings
    train: Samples
    test: Samples
    synthetic: Samples
    train_subjects: np.ndarray | None
    test_subjects: np.ndarray | None
    extractor: Extractor
    encoder: GenerativeModel | None
    backbone: VisionTransformer | None

    @classmethod
    def of(
        cls,
        name: str,
        settings: Settings,
        train: Side,
        test: Side,
        synthetic: Samples,
        measures: Measures,
        encoder: GenerativeModel | None,
    ) -> _Compared:
        """Modality ``name`` of both sides."""
        like = train.samples[name]
        sides = {"--real data": like, "--test data": test.samples[name], "synthetic set": synthetic}
        held = {
            side: {label_key(known): known for known in (part.label_names[label] for label in np.unique(part.labels))}
            for side, part in sides.items()
        }
        every = {key: label for labels in held.values() for key, label in labels.items()}
        for side, labels in held.items():
            if missing := [label for key, label in every.items() if key not in labels]:
                raise UserError(
                    f"The {side} has no '{name}' samples of {first_few(missing)}, which others have; give a class that "
                    "has another name there the same one with --label-map OLD=NEW, or leave it out with --label-map "
                    "OLD=."
                )
        modality = modality_of(name, settings, like)
        if encoder is None:
            extractor = make_extractor(measures.features, modality, best_device())
        else:
            vit = encoder_of(encoder, modality, measures.features)
            extractor = make_extractor(OWN, encoder.encoders[name], best_device(), vit)
        backbone = None
        if "vit_lora" in measures.classifiers_of(settings) and measures.backbone is not None:
            backbone = backbone_of(measures.backbone, modality)
        return cls(
            modality,
            settings,
            like,
            align_labels(test.samples[name], like),
            align_labels(synthetic, like),
            train.subjects.get(name),
            test.subjects.get(name),
            extractor,
            encoder,
            backbone,
        )

    def counts(self) -> dict[str, Any]:
        """Samples by label."""
        parts = {"train": self.train, "test": self.test, "synthetic": self.synthetic}
        return {
            "counts": {
                label: {part: int((samples.labels == index).sum()) for part, samples in parts.items()}
                for index, label in enumerate(self.train.label_names)
            }
        }

    def utility(self, measures: Measures, measured: Measured, seed: int) -> dict[str, dict[str, UtilityScores]]:
        """Scores of each classifier for each training set."""
        by_classifier, seeds = {}, measures.utility.seeds
        sets_of = cache(lambda max_side: four_sets(self.train, self.synthetic, max_side, seeds, seed))
        for classifier in measures.classifiers_of(self.settings) if has_labels(self.train.label_names) else ():
            config = measures.utility.of_classifier(classifier, self.modality)
            name = f"utility/{classifier}/{self.modality.name}"
            started = model_digest(self.backbone) if classifier == "vit_lora" and self.backbone is not None else None
            if measures.until_plateau and classifier != "mfcc":  # which is fitted to all samples at once
                config = replace(config, updates=self._lasting(config, started, measured, seed))
            depends_on = self._content(seed) | {"config": asdict(config), "backbone": started}

            def measure(config: UtilityConfig = config) -> dict[str, Any]:
                accelerator = make_accelerator()
                if config.folds:
                    sides = self.train, self.synthetic, self.train_subjects
                    scores = utility_by_folds(self.modality, *sides, config, accelerator, self.backbone)
                else:
                    sets = sets_of(config.max_side)
                    scores = utility(self.modality, sets, self.test, config, accelerator, self.backbone)
                return {name: entry.to_json() for name, entry in scores.items()}

            content = measured.once(name, depends_on, measure)
            by_classifier[classifier] = from_json(Mapping[str, UtilityScores], content, name)
        return by_classifier

    def _lasting(self, config: UtilityConfig, started: str | None, measured: Measured, seed: int) -> int:
        """Updates that help on the real training data, of which a fifth, of other people, is held out."""
        try:
            held = fold_of(self.train, self.train_subjects, _PARTS, seed) == 0
        except UserError as error:
            raise UserError(
                f"Too few people have each label of '{self.modality.name}' to hold a fifth out; give a number of "
                "--updates instead of --until-plateau."
            ) from error
        train, validation = (reduced(self.train.select(part), config.max_side) for part in (~held, held))

        def measure() -> list[tuple[int, float]]:
            scores = lasting(self.modality, train, validation, config, make_accelerator(), self.backbone)
            return list(scores.items())

        depends_on = {
            "train": self._content(seed)["train"],
            "seed": seed,
            "config": asdict(config),
            "backbone": started,
        }
        found = measured.once(f"plateau/{config.classifier}/{self.modality.name}", depends_on, measure)
        return reached({int(updates): float(score) for updates, score in found})

    def fidelity(self, measured: Measured, seed: int, patch: tuple[int, int] | None) -> dict[str, FidelityResult]:
        """Measures of closeness and variety, against the test samples; ``patch`` is that of the generator."""

        def measure() -> dict[str, Any]:
            sides = self.modality, self.test, self.synthetic, self.extractor
            results = measure_fidelity(*sides, self.settings, self.test_subjects, seed, patch)
            return {name: result.to_json() for name, result in results.items()}

        name = f"fidelity/{self.modality.name}"
        own = None if self.encoder is None else model_digest(self.encoder)
        depends_on = self._content(seed) | {"features": self.extractor.name, "own": own, "patch": patch}
        return results_from_json(measured.once(name, depends_on, measure), name)

    def _content(self, seed: int) -> dict[str, Any]:
        """Everything that a result depends on beside its own settings."""
        return {
            "train": fingerprint(self.train, self.train_subjects),
            "test": fingerprint(self.test, self.test_subjects),
            "synthetic": fingerprint(self.synthetic),
            "seed": seed,
        }


def _read_sets(
    path: Path, modalities: Sequence[str], reading: Reading, labels: LabelKind
) -> tuple[dict[str, Samples], dict[str, Settings], dict[str, tuple[int, int]]]:
    """Samples of a synthetic set, of a run those of its largest, and patches that they were put together from."""
    logger.info("Reading synthetic and real data")
    sets = [path]
    if path.is_dir() and not (path / DOCUMENT).is_file():
        sets = list(data_sets_of(path).values()) or [path]
    settings = synthetic_settings(sets[0], modalities)
    read = [read_synthetic(folder, settings, reading.label_map, reading.skip_bad, labels) for folder in sets]
    largest = max(read, key=lambda samples: len(next(iter(samples.values()))))
    if empty := [name for name, samples in largest.items() if not len(samples)]:
        raise UserError(f"{path} holds no samples of {first_few(empty)}; nothing can be measured.")
    return largest, settings, patches_in(sets[0])
