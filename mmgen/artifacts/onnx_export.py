"""An encoder as a file in the format ONNX, which other software runs without torch and without this library."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError
from mmgen.models.generative import GenerativeModel
from mmgen.models.modality import Modality

INPUT, OUTPUT = "samples", "features"


class _RawEncoder(nn.Module):
    """Features (B, 1 + N, D), the class token's first, of samples (B, C, H, W) in raw units, as files hold them."""

    def __init__(self, vit: nn.Module, modality: Modality) -> None:
        super().__init__()
        self.vit, self.modality = vit, modality

    def forward(self, samples: Tensor) -> Tensor:
        (height, width), (_, h, w) = self.modality.padded, self.modality.shape
        return self.vit.forward_features(F.pad(self.modality.normalise(samples), (0, width - w, 0, height - h)))


def export_onnx(model: GenerativeModel, path: Path, modality: str | None = None) -> str:
    """Write the encoder of one modality as an ONNX file of any batch size; the modality.

    The file's input "samples" are float32 (B, C, H, W) in raw units: grey levels of 0 to 255, or log-mels; its output
    "features" (B, 1 + N, D), the class token first, is that of ``model.encode`` of unmasked input.

    Args:
        modality: name; the first if None.

    Raises:
        UserError: the model has no encoder, or not of this modality, or the packages are missing.
    """
    if not model.encoders:
        raise UserError(f"A model of the kind {model.kind} has no encoder; export a masked autoencoder.")
    name = next(iter(model.encoders)) if modality is None else modality
    if name not in model.encoders:
        raise UserError(f"This model has encoders of {list(model.encoders)}, not of {name!r}.")
    encoder = _RawEncoder(model.to_timm(name), model.encoders[name]).eval()
    try:
        import onnxscript  # noqa: F401  # which torch needs, and asks for by an error of many lines
    except ImportError as error:
        raise UserError("ONNX files need the packages of an extra: pip install 'mmgen[onnx]'.") from error
    example = (torch.zeros(2, *model.encoders[name].shape),)
    sizes = {INPUT: {0: torch.export.Dim("batch")}}
    names = {"input_names": [INPUT], "output_names": [OUTPUT]}
    program = torch.onnx.export(encoder, example, dynamic_shapes=sizes, dynamo=True, verbose=False, **names)
    with new_file(path) as file:
        file.write(program.model_proto.SerializeToString())
    return name
