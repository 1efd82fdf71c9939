"""``mmgen.audit``: attacks on a model, a run or any synthetic set, which show what it tells about its training data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.cards import pixels_line, write_card
from mmgen.artifacts.models import PRIVACY, load_model, model_digest, model_settings
from mmgen.assessment.inputs import (
    DOCUMENT,
    Paths,
    data_sets_of,
    modality_of,
    parse_paths,
    read_sides,
    side_of,
    synthetic_settings,
)
from mmgen.assessment.obtainable import obtainable_samples, soft_labelled
from mmgen.assessment.shown import disguised_figure, pairs_figure
from mmgen.data.loading import PairedData
from mmgen.data.samples import Samples, set_fingerprint
from mmgen.data.settings import Settings, kind_of
from mmgen.data.sources import Reading
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.features import make_extractor
from mmgen.evaluation.measured import Measured
from mmgen.evaluation.privacy.attack import Evidence
from mmgen.evaluation.privacy.audit import FAST, FULL, audit_section
from mmgen.evaluation.privacy.gate import Thresholds, Verdict, judge, opens
from mmgen.evaluation.privacy.record import AuditRecord, PrivacySection
from mmgen.evaluation.privacy.sides import Side, varied
from mmgen.evaluation.report.media import ReportMedia
from mmgen.models.attention_gan import Critic
from mmgen.models.generative import GenerativeModel
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.release.datasets import dataset_digest
from mmgen.release.evidence import privacy_section
from mmgen.training.engine import best_device
from mmgen.training.run import Checkpoints

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """The target of an audit: a model, synthetic data sets, or both from one run.

    Attributes:
        model: None for synthetic data alone.
        critic: of the run that trained the model, if it is there.
        data_sets: folders of data sets, or one folder or CSV of synthetic files, by name relative to what was given.
        settings: how files of each modality become arrays.
    """

    model: GenerativeModel | None
    critic: Critic | None
    data_sets: Mapping[str, Path]
    settings: Mapping[str, Settings]

    @classmethod
    def at(cls, path: str | Path, modalities: Sequence[str] = ()) -> Target:
        """The model, run, data set or folder at a path; a hub id works for a model.

        Raises:
            UserError: there is nothing of this kind.
        """
        here = Path(path)
        if here.is_file() or (here / DOCUMENT).is_file():
            return cls(None, None, {".": here}, synthetic_settings(here, modalities))
        holds_model = any((here / name / "config.json").is_file() for name in (".", "model"))
        if here.is_dir() and not holds_model:
            sets = data_sets_of(here) or {".": here}
            return cls(None, None, sets, synthetic_settings(next(iter(sets.values())), modalities))
        # A path that is not there may be a model's name on a hub.
        is_id = isinstance(path, str) and path.count("/") == 1 and not path.startswith((".", "/", "~"))
        if not here.exists() and not is_id:
            raise UserError(f"There is nothing at {path}; give a run, a model, a data set or a folder of files.")
        model = load_model(path)
        known = model_settings(model)
        if unknown := [name for name in modalities if name not in known]:
            raise UserError(f"{path} has the modalities {', '.join(known)}, not {', '.join(unknown)}.")
        settings = {name: known[name] for name in modalities or known}
        return cls(model, _critic_of(here, model), data_sets_of(here), settings)


def _critic_of(run: Path, model: GenerativeModel) -> Critic | None:
    """The critic that a MedSynth generator was last trained against, from the run's checkpoints."""
    for phase in ("phase2", "phase1") if model.kind == MedSynthGenerator.kind else ():
        checkpoints = Checkpoints(run / phase / "checkpoints")
        if checkpoints.last.is_file():
            with checkpoints.reading(checkpoints.last) as saved:
                weights = {k.removeprefix("critic."): x for k, x in saved["model"].items() if k.startswith("critic.")}
                channels, size, _ = model.shape
                critic = Critic(size, channels, len(model.class_names), len(weights["features.0.weight"]))
                critic.load_state_dict(weights)
                return critic.eval()
    return None


@dataclass(frozen=True)
class AuditResult:
    """The result of an audit.

    Attributes:
        privacy: section ``privacy`` of a report.
        verdicts: what each entry means for the release.
        synthetic, members: the records that were compared.
        reused: how many results were there from an earlier audit.
        fingerprints: of the members by modality, see :func:`mmgen.data.samples.set_fingerprint`.
    """

    privacy: PrivacySection
    verdicts: list[Verdict]
    synthetic: Mapping[str, Samples] = field(repr=False)
    members: Side = field(repr=False)
    reused: int = 0
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    @property
    def opens(self) -> bool:
        """Whether the target may be passed on."""
        return opens(self.verdicts)

    def media(self) -> ReportMedia:
        """Pictures of the synthetic records that lie nearest to training records, or are disguised copies of some,
        beside these."""
        figures = []
        for name, synthetic in self.synthetic.items():
            records = synthetic.values, self.members.samples[name].values
            end = f"/{name}" if len(self.synthetic) > 1 else ""
            for key, draw in (("copies", pairs_figure), ("disguised_copies", disguised_figure)):
                if key + end in self.privacy.results:
                    figures.append(draw(name, self.privacy.results[key + end], *records))
        return ReportMedia([figure for figure in figures if figure is not None])


def audit(
    target: str | Path,
    members: Paths,
    non_members: Paths,
    out: str | Path | None = None,
    *,
    modalities: Sequence[str] = (),
    features: str = "pixels",
    fast: bool = False,
    leave_out_shared: bool = False,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    reading: Reading | None = None,
    members_split: str = "train",
    non_members_split: str = "test",
) -> AuditResult:
    """Attack a model, a run, or any synthetic set, and judge the results.

    A second call with the same ``out`` on the same data computes nothing again.

    Args:
        target: a run, a model, a data set of this library, or a folder by label or CSV of any synthetic files.
        members: the real data that it was made from: a path, or one for each modality. Of data with splits
            ``members_split`` is used, see :func:`read_side`.
        non_members: real data of the same kind that no training has seen; of data with splits ``non_members_split``.
        out: folder for ``privacy.json`` and what is kept of the results.
        modalities: which ones, all if empty.
        features: space of the attacks on features, see :func:`make_extractor`.
        fast: a short black-box attack and fewer resamples, which is too little for a release.
        leave_out_shared: leave out non-members that are also members instead of refusing.
        seed: of all draws; also that of the training, where it held out part of the members for validation.
        reading: how the real data are read.

    Raises:
        UserError: what is missing or does not fit, in one sentence.

    Example:
        >>> import mmgen
        >>> result = mmgen.audit("runs/isic", members="isic", non_members="isic", fast=True)
        >>> result.privacy.results["copies"].exact
        0
        >>> result.opens  # short attacks, and 9 test images, are no evidence that nothing leaks
        False
    """
    known = Target.at(target, modalities)
    reading = reading or Reading(seed=seed)
    logger.info("Reading members and non-members")
    given = (members, "--members"), (non_members, "--non-members")
    paths = [parse_paths(path, list(known.settings), flag) for path, flag in given]
    sides = read_sides(*paths, known.settings, (members_split, non_members_split), reading)
    folder = None if out is None else Path(out)
    return audit_target(known, *sides, folder, features, fast, leave_out_shared, seed, thresholds, reading)


def audit_run(
    target: Target, data: PairedData, folder: Path, fast: bool = False, seed: int = 0
) -> tuple[dict[str, Any], ReportMedia]:
    """Audit of what a recipe made, as section ``privacy`` and pictures of a report; writes ``folder/privacy.json``.

    Members are the training samples, non-members the test samples of ``data`` without what both have in common. An
    audit that is impossible on these data is not an end of the run: the section then says why.
    """
    members, non_members = (side_of(data.splits[split]) for split in ("train", "test"))
    try:
        result = audit_target(target, members, non_members, folder, fast=fast, leave_out_shared=True, seed=seed)
    except UserError as error:
        logger.warning("Not audited: %s", error)
        return PrivacySection({}, refused=str(error)).to_json(), ReportMedia()
    model_folder = folder.parent / "model"
    if target.model is not None and (model_folder / "README.md").is_file():
        # Numbers may be passed on, nothing of single records.
        record = _record(target, result)
        record.write(model_folder / PRIVACY, shared=True)
        section = privacy_section(result.verdicts, record, pixels=pixels_line(target.model))
        write_card(target.model, model_folder, CardFacts.read(model_folder), section)
    for verdict in result.verdicts:
        logger.info("%s", verdict.line)
    return result.privacy.to_json(), result.media()


def audit_target(
    target: Target,
    members: Side,
    non_members: Side,
    folder: Path | None = None,
    features: str = "pixels",
    fast: bool = False,
    leave_out_shared: bool = False,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    reading: Reading | None = None,
) -> AuditResult:
    """:func:`audit` of what is read already; writes ``privacy.json``."""
    effort = FAST if fast else FULL
    given = (target.model, target.data_sets, target.settings, members)
    drawn = obtainable_samples(*given, effort.drawn, seed, reading)
    # As they were trained on, also the blank ones.
    fingerprints = {name: set_fingerprint(samples.values) for name, samples in members.samples.items()}
    # Blank records are left out here, so that the rows of pairs are those of what is shown.
    synthetic, members = varied(Side(drawn), "synthetic samples").samples, varied(members, "members")
    model, critic, device = target.model, target.critic, best_device()
    encoder = None if model is None or model.autoencoder is None else model.autoencoder.to(device).eval()
    modalities = {
        name: modality_of(name, how, members.samples[name]) if encoder is None else encoder.encoders[name]
        for name, how in target.settings.items()
    }
    evidence = Evidence(
        modalities,
        synthetic,
        members,
        non_members,
        {
            name: make_extractor(features, modality, device, encoder and encoder.to_timm(name))
            for name, modality in modalities.items()
        },
        "S" if model is None else model.threat,
        encoder,
        None if critic is None else critic.to(device),
        device=device,
        mirrored=tuple(name for name, how in target.settings.items() if kind_of(how).is_picture),
        soft_labels=soft_labelled(target.data_sets, target.settings, reading),
        teacher=None if model is None else model.teacher,
    )
    measured = Measured(None if folder is None else folder / "measured")
    section = audit_section(evidence, effort, measured, seed, leave_out_shared)
    if measured.reused:
        logger.info("%d results were there from an earlier audit of the same data.", measured.reused)
    result = AuditResult(section, judge(section, thresholds), synthetic, members, measured.reused, fingerprints)
    if folder is not None:
        _record(target, result).write(folder / PRIVACY)
    return result


def _record(target: Target, result: AuditResult) -> AuditRecord:
    sets = {name: path for name, path in target.data_sets.items() if (path / DOCUMENT).is_file()}
    return AuditRecord(
        datetime.now(UTC).isoformat(timespec="seconds"),
        tuple(target.settings),
        None if target.model is None else model_digest(target.model),
        {name: dataset_digest(path) for name, path in sets.items()},
        result.privacy,
        result.verdicts,
        result.fingerprints,
    )
