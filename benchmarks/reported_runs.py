"""Runs as their reports describe them: what ``figures.py`` draws."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paper_numbers
from table1_summary import report_sections

from mmgen.assessment.reporting import together
from mmgen.errors import UserError
from mmgen.evaluation.report.reading import read_report
from mmgen.evaluation.report.text import as_dict, duration, name_of


@dataclass(frozen=True)
class Run:
    """What the reports of a run say.

    Attributes:
        path: as the user names it.
        name: as it is named in what is written.
        report: sections of all reports together.
    """

    path: Path
    name: str
    report: Mapping[str, Any]

    def part(self, *keys: str) -> dict[str, Any]:
        """A part of the report by its keys, empty if it is not there."""
        found: Any = self.report
        for key in keys:
            found = as_dict(found).get(key)
        return as_dict(found)

    def modality(self, key: str) -> str:
        """Readable name of a modality."""
        return name_of(key, self.part("data"))

    @property
    def is_mae_on_data(self) -> bool:
        """Whether the run is one of a masked autoencoder, and not on phantoms."""
        phantoms = self.part("config").get("images", "unknown") is None
        return not phantoms and any("masked_patch_error" in as_dict(of) for of in self.part("fidelity").values())

    @property
    def dataset(self) -> str | None:
        """Which of MedSynth's data sets has these labels, if one has."""
        return paper_numbers.dataset_of(self.part("data", "image", "counts"))

    @property
    def compares_methods(self) -> bool:
        """Whether it is no run of one model but rows of ``table1.py``."""
        return bool(self.part("table1"))

    def origin(self, phase: str) -> str:
        """The run's name, on what and for how long the phase ran, and how far its split can be trusted."""
        cost = self.part("cost", phase)
        facts = [f"{cost.get('device')}, {duration(cost.get('seconds'))}" if cost else "device and seconds unknown"]
        shared = max((as_dict(of).get("shared_subjects") or 0 for of in self.part("data").values()), default=0)
        facts += [f"{shared} subjects are on both sides of the split"] if shared else []
        return f"{self.name} ({'; '.join(facts)})"


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """All runs; the name of each is the shortest end of its path that no other has.

    Raises:
        UserError: there is no path, or one is missing, damaged or named twice.
    """
    if not paths:
        raise UserError("--runs names no run; give the folder of at least one.")
    ends = [path.resolve().with_suffix("") if path.is_file() else path.resolve() for path in paths]
    for depth in range(1, max(len(end.parts) for end in ends) + 1):
        names = ["/".join(end.parts[-depth:]) for end in ends]
        if len(set(names)) == len(names):
            return [Run(path, name, read_run(path)) for path, name in zip(paths, names, strict=True)]
    twice = next(path for path, end in zip(paths, ends, strict=True) if ends.count(end) > 1)
    raise UserError(f"--runs names {twice} twice; name every run once.")


def read_run(path: Path) -> dict[str, Any]:
    """The sections of a run's reports, where what an audit added later stands in place of what was there, or of the
    rows of ``table1.py``."""
    if path.is_file():
        return read_json(path)
    if not path.is_dir():
        raise UserError(f"There is no run at {path}; give the folder of a run, or a .json with its report.")
    if (path / "rows.jsonl").is_file():
        return report_sections(path)
    whole: dict[str, Any] = {}
    for place in (path, path / "report", path / "audit"):
        if (place / "report.json").is_file():
            whole = together(whole, {key: value for key, value in read_report(place).items() if value})
    # Every audit writes this file, a report of its own only the command.
    if (path / "audit" / "privacy.json").is_file():
        whole["privacy"] = as_dict(read_json(path / "audit" / "privacy.json").get("privacy"))
    return whole


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; raises UserError where it is none or holds no sections."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # neither JSON nor UTF-8
        raise UserError(
            f"{path} is damaged or no JSON; give the folder of a run, or a .json with its report."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no sections of a report; give the folder of a run, or a .json with its report.")
    return content
