"""The pictures of README: real samples beside synthetic ones, of each label, taken at equal distances and not chosen.

The committed ``pairs.png`` shows a run of 30 epochs:

    python recipes/mmae_covid.py --epochs 30
    python benchmarks/real_beside_synthetic.py --synthetic runs/mmae_covid/synthetic --out docs/images/pairs.png \
        --real image=runs/mmae_covid/phantoms/images audio=runs/mmae_covid/phantoms/audio
    mmgen phantoms --out lesions --kind lesions
    mmgen condense lesions --method medsynth --preset quick --ipc 20 --out condensed
    python benchmarks/real_beside_synthetic.py --synthetic condensed --real lesions --out docs/images/condensed.png
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmgen.assessment.inputs import parse_paths, synthetic_settings
from mmgen.cli.config import parse_config
from mmgen.cli.main import run_command
from mmgen.data.loading import load
from mmgen.data.samples import Samples
from mmgen.data.sources import Reading
from mmgen.data.writing.atomic import new_file
from mmgen.data.writing.synthetic import read_dataset
from mmgen.evaluation.report.figures import colour_range, picture, spectrogram

CELL, GAP, MARGIN = 66, 26, 78  # pixels


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


def drawn(sides: Mapping[str, Mapping[str, Samples]], columns: int, most_labels: int) -> Image.Image:
    """Rows of each label and modality: samples of the first side on the left, of the second on the right."""
    first = next(iter(sides.values()))
    labels, names = next(iter(first.values())).label_names[:most_labels], list(first)
    sounds = {name: own for name, own in first.items() if own.values.dtype != np.uint8}
    colours = {name: colour_range([own.at_most(64).values[:]]) for name, own in sounds.items()}
    width = MARGIN + len(sides) * (columns * CELL + GAP)
    sheet = Image.new("RGB", (width, GAP + len(labels) * len(names) * CELL), "white")
    write, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, (title, samples) in enumerate(sides.items()):
        left = MARGIN + place * (columns * CELL + GAP)
        write.text((left, 4), title, "black", font)
        for row, (label, name) in enumerate(product(labels, names)):
            top = GAP + row * CELL
            if not place and name == names[0]:
                write.text((4, top + CELL // 2), label, "black", font)
            own = samples[name]
            rows = np.flatnonzero(own.labels == own.label_names.index(label))
            for column, index in enumerate(rows[np.linspace(0, len(rows) - 1, columns).astype(int)]):
                values = np.asarray(own.values[index : index + 1])[0]
                cell = picture(values) if name not in colours else spectrogram(values[0].astype(float), *colours[name])
                sheet.paste(cell.resize((CELL - 2, CELL - 2), Image.Resampling.BICUBIC), (left + column * CELL, top))
    return sheet


def main() -> None:
    config = parse_config(Picture, description=__doc__)
    settings = synthetic_settings(config.synthetic, ())
    paths = parse_paths(list(config.real), list(settings), "--real")
    reading = Reading()
    real = load(reading.sources(paths, settings), reading, "train", foreign=True)
    synthetic = read_dataset(config.synthetic, settings)
    sheet = drawn({"real (phantoms)": real, "synthetic": synthetic}, config.columns, config.labels)
    with new_file(config.out) as file:
        sheet.quantize(128, kmeans=2).save(file, "PNG", optimize=True)


if __name__ == "__main__":
    run_command(main)
