"""``mmgen.audit``: what a model, a run or any synthetic set tells about the records it was learnt from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.cards import pixels_line, write_card
from mmgen.artifacts.models import model_digest
from mmgen.assessment.inputs import (
    DOCUMENT,
    Paths,
    Reading,
    modality_of,
    parse_paths,
)
from mmgen.assessment.shown import pairs_figure
from mmgen.assessment.subject import Subject, synthetic_samples, threat_of
from mmgen.data.images import ImageSettings
from mmgen.data.prepare import PairedData
from mmgen.data.samples import Samples, people_of
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.features import make_extractor
from mmgen.evaluation.measured import Measured
from mmgen.evaluation.privacy.audit import FAST, FULL, Audited, audit_section
from mmgen.evaluation.privacy.gate import Thresholds, Verdict, judge, opens
from mmgen.evaluation.privacy.sides import Side, varied
from mmgen.evaluation.report.media import ReportMedia
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.release.datasets import dataset_digest
from mmgen.release.texts import privacy_section, without_records
from mmgen.training.engine import best_device

logger = logging.getLogger(__name__)

PRIVACY = "privacy.json"


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        privacy: section ``privacy`` of a report.
        verdicts: what each entry means for the release.
        synthetic, members: the records that were compared.
        reused: how many results were there from an earlier audit.
    """

    privacy: Mapping[str, Any]
    verdicts: list[Verdict]
    synthetic: Mapping[str, Samples] = field(repr=False)
    members: Side = field(repr=False)
    reused: int = 0

    @property
    def opens(self) -> bool:
        """Whether what was audited may be passed on."""
        return opens(self.verdicts)

    def media(self) -> ReportMedia:
        """Pictures of the synthetic records that lie nearest to training records, beside these."""
        found = []
        for name, made in self.synthetic.items():
            key = f"copies/{name}" if f"copies/{name}" in self.privacy else "copies"
            figure = pairs_figure(name, self.privacy.get(key, {}), made.values, self.members.samples[name].values)
            found += [figure] if figure is not None else []
        return ReportMedia(found)


def audit(
    what: str | Path,
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
) -> Audit:
    """Attack a model, a run, or any synthetic set, and judge what came of it.

        found = mmgen.audit("runs/mine", members="data.csv", non_members="data.csv", out="runs/mine/audit")
        print(*(verdict.line for verdict in found.verdicts), sep="\\n")

    A second call with the same ``out`` on the same data computes nothing again.

    Args:
        what: a run, a model, a data set of this library, or a folder by label or CSV of any synthetic files.
        members: the real data that it was made from: a path, or one for each modality. Of data with splits
            ``members_split`` is used, see :meth:`Reading.side`.
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
    """
    subject = Subject.at(what, modalities)
    reading = reading or Reading(seed=seed)
    names = list(subject.settings)
    logger.info("Reading members and non-members")
    paths = [
        parse_paths(given, names, flag) for given, flag in ((members, "--members"), (non_members, "--non-members"))
    ]
    sides = reading.sides(*paths, subject.settings, (members_split, non_members_split))
    folder = None if out is None else Path(out)
    found = audit_subject(subject, *sides, folder, features, fast, leave_out_shared, seed, thresholds, reading)
    return found


def audit_run(
    subject: Subject, data: PairedData, folder: Path, fast: bool = False, seed: int = 0
) -> tuple[dict[str, Any], ReportMedia]:
    """Audit of what a recipe made, as section ``privacy`` and pictures of a report; writes ``folder/privacy.json``.

    Members are the training samples, non-members the test samples of ``data`` without what both have in common. An
    audit that is impossible on these data is not an end of the run: the section then says why.
    """
    sides = [side_of(data, split) for split in ("train", "test")]
    try:
        found = audit_subject(subject, *sides, folder, fast=fast, leave_out_shared=True, seed=seed)
    except UserError as error:
        logger.warning("Not audited: %s", error)
        return {"refused": str(error)}, ReportMedia()
    model_folder = folder.parent / "model"
    if subject.model is not None and (model_folder / "README.md").is_file():
        # As it may be shared: numbers, nothing of single records.
        shared = without_records(found.privacy, list(subject.settings))
        write_privacy(model_folder / PRIVACY, subject, shared, found.verdicts)
        section = privacy_section(found.verdicts, datetime.now(UTC).isoformat(), pixels=pixels_line(subject.model))
        write_card(subject.model, model_folder, CardFacts.read(model_folder), section)
    for verdict in found.verdicts:
        logger.info("%s", verdict.line)
    return dict(found.privacy), found.media()


def side_of(data: PairedData, split: str) -> Side:
    """One split of prepared data with the names of whose samples they are."""
    samples = data.splits[split]
    return Side(samples, {name: people_of(samples[name], data.manifests[name]) for name in samples})


def audit_subject(
    subject: Subject,
    members: Side,
    others: Side,
    folder: Path | None = None,
    features: str = "pixels",
    fast: bool = False,
    leave_out_shared: bool = False,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    reading: Reading | None = None,
) -> Audit:
    """:func:`audit` of what is read already; writes ``privacy.json``."""
    model = subject.model
    made = synthetic_samples(subject, members, seed, reading)
    # Blank records are left out here, so that the rows of pairs are those of what is shown.
    synthetic, members = varied(Side(made), "synthetic samples").samples, varied(members, "members")
    own = model.modalities if isinstance(model, CrossModalMAE) else {}
    modalities = {
        name: own.get(name) or modality_of(name, how, members.samples[name]) for name, how in subject.settings.items()
    }
    device = best_device()
    encoder = model.to(device).eval() if isinstance(model, CrossModalMAE) else None
    what = Audited(
        modalities,
        synthetic,
        members,
        others,
        {name: make_extractor(features, modality, device, encoder) for name, modality in modalities.items()},
        threat_of(model),
        encoder,
        None if subject.critic is None else subject.critic.to(device),
        device=device,
        mirrored=tuple(name for name, how in subject.settings.items() if isinstance(how, ImageSettings)),
    )
    measured = Measured(None if folder is None else folder / "measured")
    section = audit_section(what, FAST if fast else FULL, measured, seed, leave_out_shared)
    if measured.found:
        logger.info("%d results were there from an earlier audit of the same data.", measured.found)
    verdicts = judge(section, thresholds)
    if folder is not None:
        write_privacy(folder / PRIVACY, subject, section, verdicts)
    return Audit(section, verdicts, synthetic, members, measured.found)


def write_privacy(path: Path, subject: Subject, section: Mapping[str, Any], verdicts: Sequence[Verdict]) -> None:
    """Write ``privacy.json``: what was audited, by digests, what was found, and what it means."""
    content = {
        "audited": True,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "of": {
            "modalities": list(subject.settings),
            "model": None if subject.model is None else model_digest(subject.model),
            "data_sets": {
                name: dataset_digest(place) for name, place in subject.data_sets.items() if (place / DOCUMENT).is_file()
            },
        },
        "privacy": section,
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
    with new_file(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
