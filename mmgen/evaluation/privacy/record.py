"""``privacy.json``: what was audited, by digests, what was measured, and what it means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError
from mmgen.evaluation.privacy.gate import Verdict
from mmgen.evaluation.privacy.section import PrivacySection


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
    """

    created: str | None
    modalities: tuple[str, ...]
    model: str | None
    data_sets: Mapping[str, str]
    privacy: PrivacySection
    verdicts: Sequence[Verdict] = ()

    def to_json(self, shared: bool = False) -> dict[str, Any]:
        """Content of ``privacy.json``; ``shared``: without anything of single records, to be passed on."""
        of = {"modalities": list(self.modalities), "model": self.model, "data_sets": dict(self.data_sets)}
        head = {"audited": True, "created": self.created, "of": of}
        privacy = self.privacy.shared() if shared else self.privacy.to_json()
        return head | {"privacy": privacy, "verdicts": [asdict(verdict) for verdict in self.verdicts]}

    def write(self, path: Path, shared: bool = False) -> None:
        """Write ``privacy.json``; see :meth:`to_json`."""
        with new_file(path) as file:
            file.write((json.dumps(self.to_json(shared), indent=1) + "\n").encode())

    @classmethod
    def from_json(cls, content: Any) -> AuditRecord | None:
        """The record that a file holds; None if it says that nothing was audited.

        Raises:
            UserError: it is none.
        """
        if isinstance(content, Mapping) and content.get("audited") is not True:
            return None
        parts = [content.get(key) if isinstance(content, Mapping) else None for key in ("privacy", "of")]
        sets = parts[1].get("data_sets") if isinstance(parts[1], Mapping) else None
        if not isinstance(parts[0], Mapping) or not isinstance(sets, Mapping):
            raise UserError("sections 'privacy' and 'of' are missing")
        (privacy, of), created = parts, content.get("created")
        names = of.get("modalities")
        return cls(
            created if isinstance(created, str) else None,
            tuple(map(str, names)) if isinstance(names, list) else (),
            of["model"] if isinstance(of.get("model"), str) else None,
            sets,
            PrivacySection.from_json(privacy),
        )

    @classmethod
    def read(cls, path: Path) -> AuditRecord | None:
        """The record in a file; None if there is no file, or it says that nothing was audited.

        Raises:
            UserError: the file is damaged.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, UserError) as error:
            raise UserError(f"{path} is no privacy audit ({error}); audit again.") from error
