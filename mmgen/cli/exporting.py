"""``mmgen export``: the encoder of a model for other software."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the encoder of a masked autoencoder in the format ONNX; needs the extra mmgen[onnx]."""

    model: Annotated[str, tyro.conf.Positional]
    """Folder of a model or of a run, or a hub id."""
    onnx: Path
    """File to write; it takes samples in raw units and gives the features of their tokens."""
    modality: str | None = None
    """Whose encoder; the first if absent."""


def export(options: Export) -> dict[str, Any]:
    """Run ``mmgen export``."""
    from mmgen.artifacts.models import load_model
    from mmgen.artifacts.onnx_export import export_onnx

    model = load_model(options.model)
    name = export_onnx(model, options.onnx, options.modality)
    logger.info("The encoder of %s is in %s", name, options.onnx)
    return {"onnx": options.onnx, "modality": name, "input": ["batch", *model.encoders[name].shape]}
