"""``mmgen audit``: what a model or a synthetic set tells about its training data."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mmgen.cli.data_flags import CachedDataFlags

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Audit(CachedDataFlags):
    """Attack a model, a run or any synthetic set, and judge what it tells about its training data."""

    what: Annotated[str, tyro.conf.Positional]
    """A run, a model (folder or hub id), a data set, or a folder by label or CSV of any synthetic files."""
    members: tuple[str, ...]
    """The real data it was made from: PATH, or image=PATH audio=PATH; the training split where there are splits."""
    non_members: tuple[str, ...]
    """Real data of the same kind that no training has seen; the test split where there are splits."""
    out: Path
    """Folder of privacy.json and the report; RUN/audit is where a release of a run looks for it."""
    modality: tuple[Literal["image", "audio"], ...] = ()
    """Which ones; all if absent."""
    features: str = "pixels"
    """Space of the attacks on features: pixels, own (the encoder of a masked autoencoder), a timm name or NAME@FILE."""
    fast: bool = False
    """A short black-box attack and fewer draws for the intervals: for a first look, too little for a release."""
    leave_out_shared: bool = False
    """Leave out non-members that are also members, instead of refusing."""
    members_split: str = "train"
    """Split of --members, where there are splits."""
    non_members_split: str = "test"
    """Split of --non-members, where there are splits."""
    seed: int = 0
    """Seed of everything; that of the training, so that what it held out does not count as a member."""


def audit(options: Audit) -> dict[str, Any]:
    """Run ``mmgen audit``. What it finds does not change the exit status: that is for ``mmgen release``."""
    from mmgen.artifacts.provenance import Costs
    from mmgen.assessment import auditing
    from mmgen.assessment.reporting import add_to_report
    from mmgen.cli.tables import verdict_lines
    from mmgen.data.sources import reading_of
    from mmgen.data.writing.unfinished import alone_in
    from mmgen.training.engine import best_device

    with alone_in(options.out, tidy=True):
        costs = Costs(best_device())
        with costs.phase("audit"):
            result = auditing.audit(
                options.what,
                options.members,
                options.non_members,
                options.out,
                modalities=options.modality,
                features=options.features,
                fast=options.fast,
                leave_out_shared=options.leave_out_shared,
                seed=options.seed,
                reading=reading_of(options, options.out, options.seed),
                members_split=options.members_split,
                non_members_split=options.non_members_split,
            )
        # What an earlier call measured has its cost recorded already.
        cost = {} if result.reused else {"cost": costs}
        page = add_to_report(options.out, {"privacy": result.privacy.to_json()} | cost, result.media())
        logger.info("%s\n\nReport    %s", verdict_lines(result.verdicts), page)
    audited = {"out": options.out, "report": page, "may_be_released": result.opens}
    return audited | {"verdicts": result.verdicts}
