"""Samples of each label and modality side by side in one picture, taken at equal distances and not chosen."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from mmgen.data.samples import Samples
from mmgen.evaluation.report.figures import colour_range, picture, spectrogram

CELL, GAP = 66, 26
"""Pixels from one sample to the next, and between sides."""
_MARGIN = 200  # of the labels, at most
_COLOURED = 64  # sounds that a common range of colours is taken from, at most


def contact_sheet(sides: Mapping[str, Mapping[str, Samples]], columns: int, most_labels: int = 8) -> Image.Image:
    """Rows of each label and modality, beside each other for each side.

    Args:
        sides: by title, samples of each modality: pictures uint8 (N, C, H, W), or log-mels (N, 1, bands, frames); all
            sides have the labels and modalities of the first.
        columns: samples of a label on each side, at most.
        most_labels: how many labels are shown, the first ones.
    """
    first = next(iter(sides.values()))
    labels, names = next(iter(first.values())).label_names[:most_labels], list(first)
    sounds = {name: own for name, own in first.items() if own.values.dtype != np.uint8}
    colours = {name: colour_range([own.at_most(_COLOURED).values[:]]) for name, own in sounds.items()}
    font = ImageFont.truetype(findfont("DejaVu Sans"), 13)  # which has the letters of most labels
    margin = 12 + min(_MARGIN, round(max(map(font.getlength, labels))))
    width = margin + len(sides) * (columns * CELL + GAP)
    sheet = Image.new("RGB", (width, GAP + len(labels) * len(names) * CELL), "white")
    write = ImageDraw.Draw(sheet)
    for place, (title, samples) in enumerate(sides.items()):
        left = margin + place * (columns * CELL + GAP)
        write.text((left, 4), title, "black", font)
        for row, (label, name) in enumerate(product(labels, names)):
            top, own = GAP + row * CELL, samples[name]
            if not place and name == names[0]:
                write.text((4, top + CELL // 2), label, "black", font)
            rows = equally_spaced(np.flatnonzero(own.labels == own.label_names.index(label)), columns)
            for column, index in enumerate(rows):
                values = np.asarray(own.values[index : index + 1])[0]
                cell = picture(values) if name not in colours else spectrogram(values[0].astype(float), *colours[name])
                sheet.paste(cell.resize((CELL - 2, CELL - 2), Image.Resampling.BICUBIC), (left + column * CELL, top))
    return sheet


def equally_spaced(rows: np.ndarray, count: int) -> np.ndarray:
    """So many of (N,) rows, the first and the last and others between them; all where there are no more."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
