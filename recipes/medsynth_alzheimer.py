"""From labelled brain slices to a generator that can be shared, and condensed sets drawn from it (MedSynth paper).

Without flags: phantom slices, a small generator, a few minutes on two CPU cores. On your own images:

    python recipes/medsynth_alzheimer.py --data PATH --split-column subject_split --preset small --out runs/mine

Split by subject: slices of one person are so alike that a split by slice says nothing about unseen people.
The steps are those of medsynth_isic.py; grey images, never mirrored, are what differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medsynth_isic import Recipe, carry_out

from mmgen.cli.config import parse_config
from mmgen.cli.main import run_command
from mmgen.names import AugmentationName


@dataclass(frozen=True, kw_only=True)
class Alzheimer(Recipe):
    """Condense an image set into a generator, draw condensed sets, measure what they are worth."""

    channels: Literal[1, 3] = 1
    """1 for grey, 3 for colour."""
    augmentation: AugmentationName = "radiograph"
    """Changes of these pictures that leave their meaning: lesion, radiograph (never mirrored), none ..."""
    out: Path = Path("runs/medsynth_alzheimer")
    """Run folder."""


def main() -> None:
    carry_out(parse_config(Alzheimer, description=__doc__), "brains")


if __name__ == "__main__":
    run_command(main)
