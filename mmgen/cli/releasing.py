"""``mmgen report``, ``release`` and ``push``: the page of a run, the copy of it that may be shared, and its upload."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mmgen.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Draw the page of a run again, with what was evaluated and audited since; needs no real data."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, or of an evaluation or audit."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """Copy a model and data sets for others, if their audit allows it; without source ids, paths and names."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, model or data set."""
    out: Path
    """New folder for what may be shared."""
    audit: Path | None = None
    """Folder of the audit; RUN/audit if absent."""
    only: Literal["all", "model", "data"] = "all"
    """Which part to copy; data sets alone do not need to withstand attacks on the model."""
    override: str | None = None
    """Name of who releases it although the audit says no; recorded in the card, without paths and addresses."""
    because: str | None = None
    """Why, with --override; recorded likewise."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """Upload a release to the Hugging Face hub: its model and its data sets, private unless --public."""

    release: Annotated[Path, tyro.conf.Positional]
    """Folder that mmgen release wrote; it must be as it was written."""
    to: str
    """Name on the hub, organisation/name; what an earlier upload left there is replaced."""
    public: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Let everybody see what is new there."""


def report(options: Report) -> dict[str, Any]:
    """Run ``mmgen report``."""
    from mmgen.assessment.reporting import redraw

    page = redraw(options.run)
    logger.info("Report    %s", page)
    return {"report": page}


def release(options: Release) -> dict[str, Any]:
    """Run ``mmgen release``."""
    from mmgen.cli.tables import verdict_lines
    from mmgen.evaluation.privacy.gate import opens
    from mmgen.release import releasing
    from mmgen.release.cleaning import cleaned

    if (options.override is None) != (options.because is None):
        raise UserError("--override NAME and --because REASON belong together; give both or neither.")
    override = None if options.override is None else (options.override, options.because or "")
    verdicts = releasing.write_release(
        options.run, options.out, override=override, parts=options.only, audit=options.audit
    )
    by = "" if opens(verdicts) else f", on the responsibility of {cleaned(options.override or '')}"
    logger.info("%s\n\nReleased  %s%s", verdict_lines(verdicts), options.out, by)
    return {"out": options.out, "overridden": bool(by), "verdicts": verdicts}


def push(options: Push) -> dict[str, Any]:
    """Run ``mmgen push``."""
    from mmgen.release.hub import push_to_hub

    addresses = push_to_hub(options.release, options.to, options.public)
    for part, address in addresses.items():
        logger.info("Uploaded  %s to %s", part, address)
    return {"uploaded": addresses}
