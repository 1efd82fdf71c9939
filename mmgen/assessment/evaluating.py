"""``mmgen.evaluate``: is a synthetic set useful, and how near is it to real data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from timm.models.vision_transformer import VisionTransformer

from mmgen.artifacts.models import load_model, model_digest
from mmgen.assessment.inputs import (
    DOCUMENT,
    Paths,
    data_sets_of,
    modality_of,
    parse_paths,
    read_sides,
    read_synthetic,
    synthetic_settings,
)
from mmgen.assessment.shown import shown_samples, value_figure
from mmgen.data.labels import align_labels
from mmgen.data.manifest import label_key
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.data.sources import Reading
from mmgen.errors import UserError, first_few
from mmgen.evaluation.fidelity.features import OWN, Extractor, make_extractor
from mmgen.evaluation.fidelity.measure import measure_fidelity
from mmgen.evaluation.folds import utility_by_folds
from mmgen.evaluation.measured import Measured, fingerprint
from mmgen.evaluation.privacy.sides import Side, unseen
from mmgen.evaluation.report.media import ReportMedia
from mmgen.evaluation.training_sets import four_sets
from mmgen.evaluation.utility import UtilityConfig, utility
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality
from mmgen.models.timm_bridge import load_vit
from mmgen.names import ClassifierName
from mmgen.training.engine import best_device, make_accelerator

logger = logging.getLogger(__name__)

# Batches of a short training.
SHORT = 20


@dataclass(frozen=True)
class Measures:
    """What is measured, and with what.

    Attributes:
        features: feature space of the fidelity measures, see :func:`make_extractor`; or a folder of a masked
            autoencoder, whose encoder is taken.
        classifiers: networks that measure utility.
        backbone: what "vit_lora" starts from: a timm name, NAME@FILE, or a folder of a masked autoencoder.
        utility: how they are trained.
    """

    features: str = "pixels"
    classifiers: Sequence[ClassifierName] = ("resnet18", "convnet")
    backbone: str | None = None
    utility: UtilityConfig = field(default_factory=lambda: UtilityConfig(updates=100, max_side=32, balance="sampling"))

    def __post_init__(self) -> None:
        if "vit_lora" in self.classifiers and self.backbone is None:
            raise UserError(
                "vit_lora adapts a pretrained network and none is named; give --backbone a timm name, NAME@FILE or the "
                "folder of a masked autoencoder."
            )

    def shortened(self) -> Measures:
        """With one short training of the first classifier alone."""
        how = replace(self.utility, updates=min(self.utility.updates, SHORT), seeds=1)
        return replace(self, classifiers=self.classifiers[:1], utility=how)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        sections: ``data``, ``utility`` and ``fidelity`` of a report.
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
        like = {name: align_labels(samples, self.test.samples[name]) for name, samples in self.synthetic.items()}
        return ReportMedia(
            [value_figure(name, self.test.samples[name], made) for name, made in like.items()],
            shown_samples(self.test.samples, like, self.settings),
        )


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
    logger.info("Reading synthetic and real data")
    made, settings = _read_sets(Path(synthetic), modalities, reading)
    names = list(settings)
    paths = [parse_paths(given, names, flag) for given, flag in ((real, "--real"), (test, "--test"))]
    train, held_out = read_sides(*paths, settings, (real_split, test_split), reading)
    held_out = unseen(train, held_out)
    measured = Measured(None if out is None else Path(out) / "measured")
    sections: dict[str, Any] = {"data": {}, "utility": {}, "fidelity": {}}
    for name in names:
        _refuse_missing_labels(name, train.samples[name], held_out.samples[name], made[name])
    own = _encoder(measures.features)
    spaces = {
        name: _Space.of(modality_of(name, how, train.samples[name]), measures, own) for name, how in settings.items()
    }
    for name, how in settings.items():
        what = _Compared(spaces[name], how, train, held_out, made[name], measures, measured, seed)
        sections["data"][name] = what.counts()
        sections["utility"][name] = what.utility()
        sections["fidelity"][name] = what.fidelity()
    if measured.reused:
        logger.info("%d results were there from an earlier evaluation of the same data.", measured.reused)
    return Evaluation(sections, held_out, made, settings, measured.reused)


@dataclass(frozen=True)
class _Space:
    """A modality and the networks that it is looked at with; all of them are had before anything is measured.

    Attributes:
        extractor: of features.
        own: digest of the masked autoencoder that is the extractor, None of another one.
        backbone: what "vit_lora" starts from, with the digest of its weights; None without it.
    """

    modality: Modality
    extractor: Extractor
    own: str | None
    backbone: VisionTransformer | None
    backbone_digest: str | None

    @classmethod
    def of(cls, modality: Modality, measures: Measures, own: CrossModalMAE | None) -> _Space:
        if own is not None:
            _refuse_other(own, modality, measures.features)
        extractor = make_extractor(OWN if own else measures.features, modality, best_device(), own)
        adapts = "vit_lora" in measures.classifiers and measures.backbone is not None
        backbone = _backbone(measures.backbone, modality) if adapts else None
        digests = (None if network is None else model_digest(network) for network in (own, backbone))
        return cls(modality, extractor, next(digests), backbone, next(digests))


@dataclass(frozen=True)
class _Compared:
    """One modality of the synthetic set and both parts of the real data."""

    space: _Space
    settings: Settings
    train: Side
    test: Side
    made: Samples
    measures: Measures
    measured: Measured
    seed: int

    @property
    def modality(self) -> Modality:
        """Of all the samples."""
        return self.space.modality

    def counts(self) -> dict[str, Any]:
        """Samples by label."""
        parts = {"train": self._real(self.train), "test": self._real(self.test), "synthetic": self._synthetic()}
        names = self._real(self.train).label_names
        return {
            "counts": {
                label: {part: int((samples.labels == index).sum()) for part, samples in parts.items()}
                for index, label in enumerate(names)
            }
        }

    def utility(self) -> dict[str, Any]:
        """Scores of each classifier for each training set."""
        found, real = {}, self._real(self.train)
        if len(real.label_names) < 2:
            logger.warning("There is one label only: utility for classification cannot be measured.")
            return {}
        for classifier in self.measures.classifiers:
            # The ViT's cost is that of its own input size.
            side = max(self.modality.shape[1:]) if classifier == "vit_lora" else self.measures.utility.max_side
            how = replace(self.measures.utility, classifier=classifier, max_side=max(side, 32))
            started = self.space.backbone_digest if classifier == "vit_lora" else None
            found[classifier] = self.measured.once(
                f"utility/{classifier}/{self.modality.name}",
                self._content() | {"how": asdict(how), "backbone": started},
                lambda how=how: self._scores(how),
            )
        return found

    def _scores(self, how: UtilityConfig) -> dict[str, Any]:
        real, made, backbone = self._real(self.train), self._synthetic(), self.space.backbone
        accelerator = make_accelerator()
        if how.folds:
            people = self.train.subjects.get(self.modality.name)
            return utility_by_folds(self.modality, real, made, people, how, accelerator, backbone)
        sets = four_sets(real, made, how, self.seed)
        return utility(self.modality, sets, self._real(self.test), how, accelerator, backbone)

    def fidelity(self) -> dict[str, Any]:
        """Measures of closeness and variety, against the test samples."""
        extractor = self.space.extractor

        def run() -> dict[str, Any]:
            people = self.test.subjects.get(self.modality.name)
            test = self._real(self.test)
            made = self._synthetic()
            return measure_fidelity(self.modality, test, made, extractor, self.settings, people, self.seed)

        depends_on = self._content() | {"features": extractor.name, "own": self.space.own}
        return self.measured.once(f"fidelity/{self.modality.name}", depends_on, run)

    def _real(self, side: Side) -> Samples:
        samples = side.samples[self.modality.name]
        like = self.train.samples[self.modality.name]
        return samples if samples is like else align_labels(samples, like)

    def _synthetic(self) -> Samples:
        return align_labels(self.made, self.train.samples[self.modality.name])

    def _content(self) -> dict[str, Any]:
        name = self.modality.name
        sides = {
            side: fingerprint(data.samples[name], data.subjects.get(name))
            for side, data in (("train", self.train), ("test", self.test))
        }
        return sides | {"synthetic": fingerprint(self.made), "seed": self.seed}


def _read_sets(
    path: Path, modalities: Sequence[str], reading: Reading
) -> tuple[dict[str, Samples], dict[str, Settings]]:
    """Samples of a synthetic set; of a run, of its largest."""
    sets = [path]
    if path.is_dir() and not (path / DOCUMENT).is_file():
        sets = list(data_sets_of(path).values()) or [path]
    settings = synthetic_settings(sets[0], modalities)
    read = [read_synthetic(folder, settings, reading.label_map, reading.skip_bad) for folder in sets]
    largest = max(read, key=lambda found: len(next(iter(found.values()))))
    if empty := [name for name, samples in largest.items() if not len(samples)]:
        raise UserError(f"{path} holds no samples of {first_few(empty)}; nothing can be measured.")
    return largest, settings


def _refuse_missing_labels(name: str, train: Samples, test: Samples, made: Samples) -> None:
    """Raise UserError for a label that not every side has samples of."""
    sides = {"--real data": train, "--test data": test, "synthetic set": made}
    held = {
        side: {label_key(samples.label_names[label]): samples.label_names[label] for label in np.unique(samples.labels)}
        for side, samples in sides.items()
    }
    every = {key: label for labels in held.values() for key, label in labels.items()}
    for side, labels in held.items():
        if missing := [label for key, label in every.items() if key not in labels]:
            raise UserError(
                f"The {side} has no '{name}' samples of {first_few(missing)}, which others have; give a class that "
                "has another name there the same one with --label-map OLD=NEW, or leave it out with --label-map OLD=."
            )


def _encoder(features: str) -> CrossModalMAE | None:
    """The masked autoencoder in a folder, if that is what the features are."""
    path = Path(features)
    if not any((path / name / "config.json").is_file() for name in (".", "model")):
        return None
    model = load_model(path)
    if not isinstance(model, CrossModalMAE):
        raise UserError(f"{features} is no masked autoencoder and has no encoder; name other --features.")
    return model


def _backbone(spec: str, modality: Modality) -> VisionTransformer:
    """The ViT that a timm name, NAME@FILE or a folder of a masked autoencoder stands for."""
    own = _encoder(spec)
    if own is not None:
        _refuse_other(own, modality, spec)
        return own.to_timm(modality.name)
    name, _, file = spec.partition("@")
    return load_vit(name, Path(file) if file else None)


def _refuse_other(own: CrossModalMAE, modality: Modality, folder: str) -> None:
    """Raise UserError for a masked autoencoder of other samples."""
    shape = own.modalities[modality.name].shape if modality.name in own.modalities else None
    if shape != modality.shape:
        raise UserError(
            f"The encoder in {folder} has {'no' if shape is None else f'{shape}'} '{modality.name}', and the synthetic "
            f"set has it in shape {modality.shape}; name other --features or another --backbone."
        )
