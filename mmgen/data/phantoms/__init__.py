"""Phantoms: the embedded default data, drawn from formulas, with content that depends on the label.

Chest X-rays and coughs are one kind of data set, lesions of the skin and slices of brains are two others. Every subject
has an own body (or voice, or skin), every file an own exposure (or recording). The label changes only what it would in
life; indices past the default labels have patterns of their own.
"""

from mmgen.data.phantoms.brains import BRAINS, phantom_brain
from mmgen.data.phantoms.coughs import SAMPLE_RATE, phantom_cough
from mmgen.data.phantoms.lesions import LESIONS, phantom_lesion
from mmgen.data.phantoms.writing import LABELS, write_phantom_images, write_phantoms
from mmgen.data.phantoms.xrays import phantom_xray

__all__ = [
    "BRAINS",
    "LABELS",
    "LESIONS",
    "SAMPLE_RATE",
    "phantom_brain",
    "phantom_cough",
    "phantom_lesion",
    "phantom_xray",
    "write_phantom_images",
    "write_phantoms",
]
