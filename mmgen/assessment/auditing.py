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
from mmgen.artifacts.models import model_digest
from mmgen.assessment.inputs import DOCUMENT, Paths, modality_of, parse_paths, read_sides, side_of
from mmgen.assessment.shown import pairs_figure
from mmgen.assessment.target import Target, synthetic_samples
from mmgen.data.images import ImageSettings
from mmgen.data.loading import PairedData
from mmgen.data.samples import Samples
from mmgen.data.sources import Reading
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.features import make_extractor
from mmgen.evaluation.measured import Measured
from mmgen.evaluation.privacy.attack import Evidence
from mmgen.evaluation.privacy.audit import FAST, FULL, audit_section
from mmgen.evaluation.privacy.gate import Thresholds, Verdict, judge, opens
from mmgen.evaluation.privacy.record import AuditRecord, PrivacySection
from mmgen.evaluation.privacy.results import CopiesResult
from mmgen.evaluation.privacy.sides import Side, varied
from mmgen.evaluation.report.media import ReportMedia
from mmgen.release.datasets import dataset_digest
from mmgen.release.texts import privacy_section
from mmgen.training.engine import best_device

logger = logging.getLogger(__name__)

PRIVACY = "privacy.json"


@dataclass(frozen=True)
class AuditResult:
    """The result of an audit.

    Attributes:
        privacy: section ``privacy`` of a report.
        verdicts: what each entry means for the release.
        synthetic, members: the records that were compared.
        reused: how many results were there from an earlier audit.
    """

    privacy: PrivacySection
    verdicts: list[Verdict]
    synthetic: Mapping[str, Samples] = field(repr=False)
    members: Side = field(repr=False)
    reused: int = 0

    @property
    def opens(self) -> bool:
        """Whether the target may be passed on."""
        return opens(self.verdicts)

    def media(self) -> ReportMedia:
        """Pictures of the synthetic records that lie nearest to training records, beside these."""
        copies = self.privacy.of_type(CopiesResult).values()
        figures = [
            pairs_figure(name, entry, synthetic.values, self.members.samples[name].values)
            for entry, (name, synthetic) in zip(copies, self.synthetic.items(), strict=True)
        ]
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
        fast: a short black-box attack and fewer resamples.
        leave_out_shared: leave out non-members that are also members instead of refusing.
        seed: of all draws; also that of the training, where it held out part of the members for validation.
        reading: how the real data are read.

    Raises:
        UserError: what is missing or does not fit, in one sentence.

    Example:
        >>> import mmgen
        >>> result = mmgen.audit("runs/isic", members="isic", non_members="isic", fast=True)
        >>> print(result.verdicts[0].line)
        copies of records: none of 20 synthetic records are exact copies of training records
        >>> result.opens  # 9 test images are too few for evidence
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
        _record(target, result.privacy, result.verdicts).write(model_folder / PRIVACY, shared=True)
        section = privacy_section(result.verdicts, datetime.now(UTC).isoformat(), pixels=pixels_line(target.model))
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
    drawn = synthetic_samples(target, members, seed, reading)
    # Blank records are left out here, so that the rows of pairs are those of what is shown.
    synthetic, members = varied(Side(drawn), "synthetic samples").samples, varied(members, "members")
    model, critic, device = target.model, target.critic, best_device()
    encoder = model.to(device).eval() if model is not None and model.encoders else None
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
        mirrored=tuple(name for name, how in target.settings.items() if isinstance(how, ImageSettings)),
    )
    measured = Measured(None if folder is None else folder / "measured")
    section = audit_section(evidence, FAST if fast else FULL, measured, seed, leave_out_shared)
    if measured.reused:
        logger.info("%d results were there from an earlier audit of the same data.", measured.reused)
    verdicts = judge(section, thresholds)
    if folder is not None:
        _record(target, section, verdicts).write(folder / PRIVACY)
    return AuditResult(section, verdicts, synthetic, members, measured.reused)


def _record(target: Target, section: PrivacySection, verdicts: Sequence[Verdict]) -> AuditRecord:
    sets = {name: path for name, path in target.data_sets.items() if (path / DOCUMENT).is_file()}
    return AuditRecord(
        datetime.now(UTC).isoformat(timespec="seconds"),
        tuple(target.settings),
        None if target.model is None else model_digest(target.model),
        {name: dataset_digest(path) for name, path in sets.items()},
        section,
        verdicts,
    )
