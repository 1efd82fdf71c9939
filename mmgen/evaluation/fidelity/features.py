"""Feature spaces that real and synthetic samples are compared in: pixels, an own encoder, or any timm network."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmgen.data.decoding import DecodedArray
from mmgen.data.progress import progress_bar
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.modality import Modality
from mmgen.models.timm_bridge import fit_vit, load_vit, pretrained, read_weights

PIXELS = "pixels"
OWN = "own"

_PIXEL_SIDE = 16
# Networks that take any size get that of the samples within these bounds: below, little is left after five halvings;
# above, the features hardly change and the time does.
_SMALLEST, _LARGEST = 64, 224
_LEAST_PATCHES = 9  # along a side: 126 px for DINOv2, with a third of the tokens of 224
_SHOWN_FROM = 8  # batches; fewer are done before a bar is read
# Deviations to either side of the mean that 0..1 spans where a modality has no range of its own.
DEVIATIONS = 3.0


@dataclass(frozen=True)
class Extractor:
    """Samples of one modality -> features.

    Attributes:
        name: of the feature space, as reports record it.
        dimensions: F.
        modality: of the samples that it takes.
        embed: (B, C, H, W) float32 in raw units, on ``device`` -> (B, F).
        device: where features are computed.
        batch_size: samples at a time; it bounds the memory and changes no feature by more than rounding.
    """

    name: str
    dimensions: int
    modality: Modality
    embed: Callable[[Tensor], Tensor]
    device: torch.device
    batch_size: int = 64

    @torch.no_grad()
    def __call__(self, samples: Samples | np.ndarray | DecodedArray) -> np.ndarray:
        """Features (N, F), float32, of samples or of their values (N, C, H, W) in raw units; read a batch at a time.

        Raises:
            UserError: samples of another shape than the modality's, or features that are NaN or infinite.
        """
        values = samples.values if isinstance(samples, Samples) else samples
        if tuple(values.shape[1:]) != self.modality.shape:
            raise UserError(
                f"Features of {self.modality.name!r} are of samples of shape {self.modality.shape}, "
                f"not {tuple(values.shape[1:])}."
            )
        features = np.empty((len(values), self.dimensions), dtype=np.float32)
        starts = range(0, len(values), self.batch_size)
        quiet = len(starts) < _SHOWN_FROM
        for start in progress_bar(starts, len(starts), f"{self.name} features", quiet):
            part = slice(start, start + self.batch_size)
            x = torch.from_numpy(np.ascontiguousarray(values[part])).to(self.device).float()
            features[part] = self.embed(x).float().cpu().numpy()
        if wrong := int((~np.isfinite(features).all(axis=1)).sum()):
            raise UserError(
                f"The {self.name} features of {wrong} of {len(features)} samples are NaN or infinite; "
                "check these samples, or choose other features."
            )
        return features


def make_extractor(
    spec: str, modality: Modality, device: torch.device | str = "cpu", own: VisionTransformer | None = None
) -> Extractor:
    """The feature space that ``spec`` names.

    * ``pixels``: the samples themselves, normalised, averaged down to a longer side of at most 16. Needs no network.
    * ``own``: mean of the patch tokens of ``own``, a ViT that takes the modality's normalised samples, such as the
      encoder of a masked autoencoder or the backbone of MedSynth.
    * ``NAME``: a timm model with the hub's weights.
    * ``NAME@FILE``: a timm model with the weights of a file, .safetensors, or .pt, .pth or .bin read with
      ``weights_only``; a classifier in them is ignored. The first 8 digits of the file's SHA-256 are part of the
      recorded name.

    What a timm network gets is scaled to 0..1 (see :func:`unit_range`), grey repeated
    to three channels, resized (bilinear, antialiased) to a square and normalised by the network's own mean and
    deviation. The square has the samples' longer side, at least 64 and at most 224 or the network's default; networks
    of a fixed size get that size. A plain ViT for more than 224, such as DINOv2's for 518, is made to take the samples'
    side, at least nine patches and at most 224, its positions resampled.

    Args:
        own: needed for ``own`` alone; it is copied, not changed.

    Raises:
        UserError: no such model, weights that cannot be had or are another model's, ``own`` without a network, or
            samples that a network cannot take.
    """
    name, _, file = spec.partition("@")
    if spec == PIXELS:
        return _pixels(modality, torch.device(device))
    if spec == OWN:
        return _own(modality, torch.device(device), own)
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture) or (tag and name not in timm.list_pretrained(f"{architecture}.*")):
        raise UserError(
            f"There are no features {name!r}; choose {PIXELS}, {OWN}, a timm model such as resnet18.a1_in1k, or "
            "MODEL@FILE with a file of its weights."
        )
    if modality.shape[0] not in (1, 3):
        raise UserError(
            f"{name} takes grey or colour, not the {modality.shape[0]} channels of {modality.name!r}; "
            f"choose {PIXELS!r} or {OWN!r} features."
        )
    if not file:
        return _network(name, pretrained(name), modality, torch.device(device))
    path = Path(file)
    network = _from_file(name, path)
    with open(path, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return _network(f"{name}@{digest[:8]}", network, modality, torch.device(device))


def _pixels(modality: Modality, device: torch.device) -> Extractor:
    factor = min(1.0, _PIXEL_SIDE / max(modality.shape[1:]))
    height, width = (max(1, round(side * factor)) for side in modality.shape[1:])

    def embed(x: Tensor) -> Tensor:
        return modality.normalise(F.interpolate(x, size=(height, width), mode="area")).flatten(1)

    return Extractor(PIXELS, modality.shape[0] * height * width, modality, embed, device)


def _own(modality: Modality, device: torch.device, own: VisionTransformer | None) -> Extractor:
    if own is None:
        raise UserError(f"There is no own encoder here; choose {PIXELS!r} features, or name a timm model.")
    vit = copy.deepcopy(own)
    if tuple(vit.patch_embed.img_size) != modality.padded or vit.patch_embed.proj.in_channels != modality.shape[0]:
        fit_vit(vit, modality.shape)
    vit = vit.eval().to(device)
    height, width = vit.patch_embed.img_size
    padding = (0, width - modality.shape[2], 0, height - modality.shape[1])

    def embed(x: Tensor) -> Tensor:
        tokens = vit.forward_features(F.pad(modality.normalise(x), padding))
        return tokens[:, vit.num_prefix_tokens :].mean(1)

    return Extractor(OWN, vit.num_features, modality, embed, device)


def _network(name: str, network: nn.Module, modality: Modality, device: torch.device) -> Extractor:
    network = network.eval().to(device)
    side, about = _input_side(network, modality.shape), network.pretrained_cfg
    mean, std = (torch.tensor(about[key], device=device).view(-1, 1, 1) for key in ("mean", "std"))

    def embed(x: Tensor) -> Tensor:
        x = unit_range(modality, x).expand(-1, 3, -1, -1)
        x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
        return network((x - mean) / std)

    with torch.no_grad():
        example = embed(torch.zeros(1, *modality.shape, device=device))
    if example.ndim != 2:
        raise UserError(
            f"{name} gives maps of shape {tuple(example.shape[1:])}, not one vector a sample; name another."
        )
    return Extractor(name, example.shape[1], modality, embed, device)


def _input_side(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Side of the square that a network gets; a plain ViT for larger ones is made to take it, in place."""
    default = network.pretrained_cfg["input_size"][-1]
    if not network.pretrained_cfg.get("fixed_input_size"):
        return min(max(*shape[1:], _SMALLEST), default, _LARGEST)
    if default > _LARGEST and isinstance(network, VisionTransformer):
        side = min(max(*shape[1:], _LEAST_PATCHES * network.patch_embed.patch_size[0]), _LARGEST)
        fit_vit(network, (3, side, side))
        return network.patch_embed.img_size[0]
    return default


def _from_file(name: str, file: Path) -> nn.Module:
    """A timm model without a classifier, with the weights of a file in timm's key names."""
    network = timm.create_model(name, pretrained=False, num_classes=0)
    if isinstance(network, VisionTransformer):
        return load_vit(name, file)  # knows older names and other sizes
    classifier = network.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
    weights = {key: value for key, value in read_weights(file).items() if not key.startswith(heads)}
    # How many batches were counted changes no feature, and converted weights often lack it.
    expected, given = (
        {key: getattr(value, "shape", None) for key, value in state.items() if not key.endswith("num_batches_tracked")}
        for state in (network.state_dict(), weights)
    )
    if expected != given:
        wrong = sorted(key for key in expected.keys() | given.keys() if expected.get(key) != given.get(key))
        raise UserError(
            f"The weights {file} are not those of {name}, {wrong[:3]} do not fit; name the model that they belong to."
        )
    network.load_state_dict(weights, strict=False)
    return network


def unit_range(modality: Modality, x: Tensor) -> Tensor:
    """Raw units -> 0..1, (B, C, H, W) of any dtype -> float32.

    A modality with a ``value_range`` (images, 0..255) is scaled by it. One without (log-mels) is normalised, and three
    deviations to either side of the mean span 0..1; what lies beyond is clamped.
    """
    if modality.value_range is not None:
        low, high = modality.value_range
        return (x.float() - low) / (high - low)
    return (modality.normalise(x) / (2 * DEVIATIONS) + 0.5).clamp(0.0, 1.0)
