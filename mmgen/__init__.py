"""Synthetic medical images and sounds from data that may not be shared."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmgen.version import __version__ as __version__

# Threads of torch that wait by spinning make a training many times slower as soon as anything else uses the cores. Read
# when torch is loaded, so this helps where mmgen is imported first; a value of the user's own is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Without any spinning, a thread is woken for every one of the thousand small operations of an update, which costs as
# much as the second core gives; this much, some microseconds, makes two threads 1.6 times as fast as one.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

# Pillow's pieces of a large picture would otherwise stay with the thread that decoded it; larger ones go back to the
# system. Read when Pillow is loaded.
os.environ.setdefault("PILLOW_BLOCK_SIZE", "128m")

# Imported on first use, so that `import mmgen` does not wait for torch.
_EXPORTS = {
    "CrossModalMAE": "mmgen.models.cross_modal_mae",
    "MedSynthGenerator": "mmgen.models.medsynth",
    "Modality": "mmgen.models.modality",
    "UserError": "mmgen.errors",
    "audit": "mmgen.assessment.auditing",
    "evaluate": "mmgen.assessment.evaluating",
    "generate_pairs": "mmgen.generation.pairs",
    "load_dataset": "mmgen.data.writing.torch_dataset",
    "load_model": "mmgen.artifacts.models",
    "write_release": "mmgen.release.releasing",
    "representatives": "mmgen.condensation.representatives",
    "write_phantom_images": "mmgen.data.phantoms",
    "write_phantoms": "mmgen.data.phantoms",
}
__all__ = [
    "CrossModalMAE",
    "MedSynthGenerator",
    "Modality",
    "UserError",
    "audit",
    "evaluate",
    "generate_pairs",
    "load_dataset",
    "load_model",
    "representatives",
    "write_phantom_images",
    "write_phantoms",
    "write_release",
]

if TYPE_CHECKING:
    from mmgen.artifacts.models import load_model
    from mmgen.assessment.auditing import audit
    from mmgen.assessment.evaluating import evaluate
    from mmgen.condensation.representatives import representatives
    from mmgen.data.phantoms import write_phantom_images, write_phantoms
    from mmgen.data.writing.torch_dataset import load_dataset
    from mmgen.errors import UserError
    from mmgen.generation.pairs import generate_pairs
    from mmgen.models.cross_modal_mae import CrossModalMAE
    from mmgen.models.medsynth import MedSynthGenerator
    from mmgen.models.modality import Modality
    from mmgen.release.releasing import write_release


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'mmgen' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
