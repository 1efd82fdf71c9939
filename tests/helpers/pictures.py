"""Small pictures of any origin on disk, and attacks on them that take a moment."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tiny_medsynth import LABELS

from mmgen.assessment import auditing
from mmgen.evaluation.privacy import audit
from mmgen.evaluation.privacy.attack import Effort
from mmgen.evaluation.privacy.attacks import disguised_copies
from mmgen.evaluation.privacy.results import DisguisedCopiesResult

SHORT = Effort(
    updates=4, draws=1, resamples=20, planted=1, innocent=20, gan={"width": 4, "side": 16}, drawn=20, student=2
)
DRAWN = SHORT.drawn


def use_short_attacks(patch: Any) -> None:
    """Make audits with ``fast`` shorter still, full ones almost as short, and their draws from generators few, by a
    pytest.MonkeyPatch."""
    patch.setattr(auditing, "FAST", SHORT)
    for module in (auditing, audit):
        patch.setattr(module, "FULL", replace(SHORT, updates=5))


def use_a_search(patch: Any, found: DisguisedCopiesResult) -> None:
    """Make this the result of every search for disguised copies, by a pytest.MonkeyPatch."""
    search = replace(disguised_copies.ATTACK, run=lambda case: {disguised_copies.ATTACK.kinds[0].key: found})
    patch.setattr(
        audit, "ATTACKS", [search if attack is disguised_copies.ATTACK else attack for attack in audit.ATTACKS]
    )


def write_pictures(
    folder: Path, per_label: int = 8, seed: int = 0, labels: Sequence[str] = LABELS, size: int = 32, mode: str = "RGB"
) -> Path:
    """FOLDER/LABEL/NUMBER.png: a shade for each label with noise; no picture of two seeds is the same."""
    rng = np.random.default_rng(seed)
    for index, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for number in range(per_label):
            pixels = 60 + 120 * index / max(len(labels) - 1, 1) + rng.normal(0, 30, (size, size, 3))
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)
            picture.save(folder / label / f"{number:03d}.png")
    return folder


def write_csv(path: Path, rows: Sequence[tuple[object, ...]], head: Sequence[str] = ("path", "label")) -> Path:
    """A CSV with a header line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def files_of(folder: Path) -> list[tuple[str, str]]:
    """(path, label) of the pictures of a folder by label."""
    return [(str(path), path.parent.name) for path in sorted(folder.rglob("*.png"))]
