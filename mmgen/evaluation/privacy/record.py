"""An audit as a typed record: section ``privacy`` of a report, and ``privacy.json`` around it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mmgen.data.opening import read_json
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks import KINDS
from mmgen.evaluation.privacy.results import EffortResult, MembershipResult, NoResult, Result, Verdict

EFFORT = "effort"
R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class PrivacySection:
    """All that an audit measured.

    Attributes:
        results: by the key of their entry: that of a kind of result, with ``/modality`` where there are several;
            "effort" says how hard the attacks tried.
        refused: why there was no audit.
    """

    results: Mapping[str, Result]
    refused: str | None = None

    def of_type(self, result_type: type[R]) -> dict[str, R]:
        """Results of one type."""
        return {key: result for key, result in self.results.items() if isinstance(result, result_type)}

    def to_json(self) -> dict[str, Any]:
        """The section as ``report.json`` and ``privacy.json`` hold it."""
        entries = {key: result.to_json() for key, result in self.results.items()}
        return entries if self.refused is None else entries | {"refused": self.refused}

    def shared(self) -> dict[str, dict[str, Any]]:
        """The section without anything of single records, for what may be passed on."""
        return {key: result.shared() for key, result in self.results.items() if not isinstance(result, NoResult)}

    @classmethod
    def from_json(cls, section: Any) -> PrivacySection:
        """The section that a file holds.

        Entries of unknown keys are attacks if they have an AUC, and are left out otherwise. An entry that holds no
        numbers is :class:`NoResult`, whatever its key.

        Raises:
            UserError: it is no mapping.
        """
        if not isinstance(section, Mapping):
            raise UserError(f"Section 'privacy' has entries by attack, not a {type(section).__name__}; audit again.")
        types = {key: kind.result for key, kind in KINDS.items()} | {EFFORT: EffortResult}
        results: dict[str, Result] = {}
        for key, entry in section.items():
            kind = key.partition("/")[0]
            if not isinstance(entry, Mapping):
                results |= {} if key == "refused" else {key: NoResult()}
            elif kind in types or "auc" in entry:
                results[key] = types.get(kind, MembershipResult).from_json(entry)
        return cls(results, None if section.get("refused") is None else str(section["refused"]))


@dataclass(frozen=True)
class AuditRecord:
    """The record of an audit.

    Attributes:
        created: ISO time; None where that is not said.
        modalities: names of those that were audited.
        model: digest of the model; None if there was none.
        data_sets: digests of data sets, by name.
        privacy: what was measured.
        verdicts: what it meant then. They are not read from a file: who decides judges the numbers anew.
        members: :func:`mmgen.data.samples.set_fingerprint` of the members by modality; empty where that is not said.
    """

    created: str | None
    modalities: tuple[str, ...]
    model: str | None
    data_sets: Mapping[str, str]
    privacy: PrivacySection
    verdicts: Sequence[Verdict] = ()
    members: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path, shared: bool = False) -> None:
        """Write ``privacy.json``; ``shared``: without anything of single records, to be passed on."""
        digests = {"model": self.model, "data_sets": dict(self.data_sets), "members": dict(self.members)}
        content = {
            "audited": True,
            "created": self.created,
            "of": {"modalities": list(self.modalities), **digests},
            "privacy": self.privacy.shared() if shared else self.privacy.to_json(),
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
        }
        with new_file(path) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())

    @classmethod
    def from_json(cls, content: Any) -> AuditRecord | None:
        """The record that a file holds; None if it says that nothing was audited, UserError if it is none."""
        known = content if isinstance(content, Mapping) else {"audited": True}
        if known.get("audited") is not True:
            return None
        of = known["of"] if isinstance(known.get("of"), Mapping) else {}
        if not isinstance(known.get("privacy"), Mapping) or not isinstance(of.get("data_sets"), Mapping):
            raise UserError("sections 'privacy' and 'of' are missing")
        names, texts = of.get("modalities"), (known.get("created"), of.get("model"))
        created, model = (text if isinstance(text, str) else None for text in texts)
        modalities = tuple(map(str, names)) if isinstance(names, list) else ()
        told = of["members"] if isinstance(of.get("members"), Mapping) else {}
        members = {name: own for name, own in told.items() if isinstance(own, str)}
        section = PrivacySection.from_json(known["privacy"])
        return cls(created, modalities, model, of["data_sets"], section, members=members)

    @classmethod
    def read(cls, path: Path) -> AuditRecord | None:
        """The record in a file; None if there is no file, or it says that nothing was audited.

        Raises:
            UserError: the file is damaged.
        """
        try:
            return cls.from_json(read_json(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is no privacy audit ({error}); audit again.") from error
