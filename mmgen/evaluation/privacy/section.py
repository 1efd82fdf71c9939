"""Section ``privacy`` of a report as a typed record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks import kind_of
from mmgen.evaluation.privacy.results import CopiesResult, MembershipResult, NoResult, Result

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Tried:
    """How hard the attacks tried: whether they were short, and for how many updates the attacker's GAN was trained."""

    fast: bool
    updates: Any = None


@dataclass(frozen=True)
class PrivacySection:
    """All that an audit measured.

    Attributes:
        results: by the key of their entry: that of a kind of result, with ``/modality`` where there are several.
        effort: how hard the attacks tried; None where that is not said.
        refused: why there was no audit.
    """

    results: Mapping[str, Result]
    effort: Tried | None = None
    refused: str | None = None

    def of_type(self, kind: type[R]) -> dict[str, R]:
        """Results of one type."""
        return {key: result for key, result in self.results.items() if isinstance(result, kind)}

    def copies(self, modality: str) -> CopiesResult:
        """Copies in a modality, without numbers where they were not counted."""
        found = self.of_type(CopiesResult)
        return found.get(f"copies/{modality}") or found.get("copies") or CopiesResult()

    def to_json(self) -> dict[str, Any]:
        """The section as ``report.json`` and ``privacy.json`` hold it."""
        head = {} if self.effort is None else {"effort": asdict(self.effort)}
        tail = {} if self.refused is None else {"refused": self.refused}
        return head | {key: result.to_json() for key, result in self.results.items()} | tail

    def shared(self) -> dict[str, dict[str, Any]]:
        """The section without anything of single records, for what may be passed on: numbers, and what was compared."""
        head: dict[str, dict[str, Any]] = {} if self.effort is None else {"effort": {}}
        numbers = {key: result for key, result in self.results.items() if not isinstance(result, NoResult)}
        return head | {key: result.shared() for key, result in numbers.items()}

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
        results: dict[str, Result] = {}
        effort, refused = section.get("effort"), section.get("refused")
        for key, entry in section.items():
            kind = kind_of(key)
            if not isinstance(entry, Mapping):
                results |= {} if key == "refused" else {key: NoResult()}
            elif kind is not None:
                results[key] = kind.result.from_json(entry)
            elif "auc" in entry:
                results[key] = MembershipResult.from_json(entry)
        known = isinstance(effort, Mapping)
        return cls(
            results,
            Tried(bool(effort.get("fast")), effort.get("updates")) if known else None,
            None if refused is None else str(refused),
        )
