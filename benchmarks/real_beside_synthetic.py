"""The pictures of README: real samples beside synthetic ones, of each label, taken at equal distances and not chosen.

The committed ``pairs.png`` shows the recipe without flags:

    python recipes/mmae_covid.py
    python benchmarks/real_beside_synthetic.py --synthetic runs/mmae_covid/synthetic --out docs/images/pairs.png \
        --real image=runs/mmae_covid/phantoms/images audio=runs/mmae_covid/phantoms/audio
    mmgen phantoms --out lesions --kind lesions
    mmgen condense lesions --method medsynth --preset quick --ipc 20 --out condensed
    python benchmarks/real_beside_synthetic.py --synthetic condensed --real lesions --out docs/images/condensed.png
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmgen.assessment.inputs import parse_paths, synthetic_settings
from mmgen.cli.config import parse_config
from mmgen.cli.main import run_command
from mmgen.data.loading import load
from mmgen.data.sources import Reading
from mmgen.data.writing.atomic import new_file
from mmgen.data.writing.synthetic import read_dataset
from mmgen.evaluation.report.contact_sheet import contact_sheet


@dataclass(frozen=True)
class Picture:
    """Draw real samples beside synthetic ones."""

    synthetic: Path
    """A data set that mmgen wrote."""
    real: tuple[str, ...]
    """Its training data: PATH, or NAME=PATH for each modality."""
    out: Path
    """PNG file."""
    columns: int = 6
    """Samples of each label and side."""
    labels: int = 4
    """Labels that are shown, at most."""


def main() -> None:
    config = parse_config(Picture, description=__doc__)
    settings = synthetic_settings(config.synthetic, ())
    paths = parse_paths(list(config.real), list(settings), "--real")
    reading = Reading()
    real = load(reading.sources(paths, settings), reading, "train", foreign=True)
    synthetic = read_dataset(config.synthetic, settings)
    sheet = contact_sheet({"real (phantoms)": real, "synthetic": synthetic}, config.columns, config.labels)
    with new_file(config.out) as file:
        sheet.quantize(128, kmeans=2).save(file, "PNG", optimize=True)


if __name__ == "__main__":
    run_command(main)
