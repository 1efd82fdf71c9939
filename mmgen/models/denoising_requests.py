"""Requests for samples of a data set, answered by a denoising masked autoencoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.models.cross_modal_mae import random_masking
from mmgen.models.generative import Request
from mmgen.models.modality import Modality
from mmgen.models.seeds import mask_stream, noise_stream

# Samples that are made at once on a CPU and elsewhere, whatever is asked for: the last bits of a sample depend on how
# many others a matrix product has.
_TOGETHER, _TOGETHER_ELSEWHERE = 8, 64


class Drawing(Protocol):
    """What is asked of a :class:`DenoisingMAE`."""

    modalities: Mapping[str, Modality]

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def noise(self, batch: int, generator: torch.Generator | None = None) -> dict[str, Tensor]: ...

    def sample(self, labels: Tensor, *arguments: object) -> dict[str, Tensor]: ...

    def complete(
        self, inputs: Mapping[str, Tensor], hidden: Mapping[str, Tensor], *arguments: object
    ) -> dict[str, Tensor]: ...


def answer(model: Drawing, request: Request) -> dict[str, Tensor]:
    """What the request does not give, raw (B, C, H, W) by modality; of pasted visible patches, all that it gives,
    completed."""
    device = next(model.parameters()).device
    together = _TOGETHER if device.type == "cpu" else _TOGETHER_ELSEWHERE
    parts = []
    for start in range(0, len(request.indices), together):
        rows = np.minimum(np.arange(start, start + together), len(request.indices) - 1)
        parts.append(_made(model, request, rows, device))
    return {name: torch.cat([part[name] for part in parts])[: len(request.indices)] for name in parts[0]}


def _made(model: Drawing, request: Request, rows: np.ndarray, device: torch.device) -> dict[str, Tensor]:
    names = list(zip(request.indices[rows].tolist(), request.steps[rows].tolist(), strict=True))
    streams = [noise_stream(request.seed, index, step) for index, step in names]
    gaussian = {
        name: torch.stack([torch.randn(m.tokens, m.patch_size, generator=stream) for stream in streams]).to(device)
        for name, m in model.modalities.items()
    }
    labels, sampling = torch.from_numpy(np.ascontiguousarray(request.labels[rows])).to(device), request.sampling
    inputs = {name: x[torch.from_numpy(rows).to(device)] for name, x in request.inputs.items()}
    if not request.paste_visible:
        made = model.sample(labels, sampling.steps, sampling.guidance, gaussian, inputs)
        return {name: x for name, x in made.items() if name not in inputs}
    drawn = [model.noise(1, mask_stream(request.seed, index, step)) for index, step in names]
    hidden = {
        name: random_masking(torch.cat([one[name] for one in drawn]), request.ratios[name]).mask for name in inputs
    }
    return model.complete(inputs, hidden, labels, sampling.steps, sampling.guidance, gaussian)
