"""Weights from timm's Vision Transformer, to start from ImageNet, and to it, to classify with timm and peft."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from mmgen.errors import UserError, first_few, shown
from mmgen.models.mae_layers import EncoderStream
from mmgen.models.modality import Modality


def stream_to_timm(stream: EncoderStream, modality: Modality, heads: int) -> VisionTransformer:
    """A timm ViT with the stream's weights; it computes the stream's features of unmasked input without fusion, bit for
    bit in fp32.

    The ViT takes the padded size of the modality, normalised.
    """
    sizes = {"embed_dim": stream.norm.weight.shape[0], "depth": len(stream.blocks), "num_heads": heads}
    vit = VisionTransformer(modality.padded, modality.patch, modality.shape[0], num_classes=0, **sizes)
    state = {key: x for key, x in stream.state_dict().items() if key.startswith(("blocks.", "norm.", "cls_token"))}
    state["pos_embed"] = stream.positions
    state["patch_embed.proj.weight"] = stream.embed.weight.view_as(vit.patch_embed.proj.weight)
    state["patch_embed.proj.bias"] = stream.embed.bias
    vit.load_state_dict(state)
    return vit


def load_stream(stream: EncoderStream, modality: Modality, weights: Mapping[str, Tensor]) -> None:
    """Start a stream from a ViT's state dict in timm's key names (a classifier in it is ignored).

    Patch embedding and positions are resampled to the modality's patch and grid; a colour embedding is summed over
    channels for grey input.

    Raises:
        UserError: the weights are not a ViT's or have another width or depth.
    """
    needed = ("patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed", "cls_token", "blocks.0.attn.qkv.weight")
    missing = [key for key in needed if key not in weights]
    if missing:
        raise UserError(f"These weights are not a Vision Transformer's in timm's key names: {missing} are missing.")
    depth = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks."))
    width = weights["cls_token"].shape[-1]
    if (width, depth) != (stream.cls_token.shape[-1], len(stream.blocks)):
        raise UserError(
            f"The weights have width {width} and depth {depth}, "
            f"the model {stream.cls_token.shape[-1]} and {len(stream.blocks)}; "
            "choose a preset of that size (base is ViT-B: 768 wide, 12 deep)."
        )
    state = {key: value for key, value in weights.items() if key.startswith(("blocks.", "norm.", "cls_token"))}
    kernel = _for_channels(weights["patch_embed.proj.weight"].float(), modality.shape[0])
    state["embed.weight"] = resample_patch_embed(kernel, list(modality.patch)).reshape(stream.embed.weight.shape)
    state["embed.bias"] = weights["patch_embed.proj.bias"]
    state["positions"] = _positions(weights["pos_embed"], modality)
    wanted = {key: value.shape for key, value in stream.state_dict().items()}
    wrong = [key for key, value in state.items() if wanted.get(key) != value.shape]
    wrong += sorted(wanted.keys() - state.keys() - {"norm.weight", "norm.bias"})
    if wrong:
        raise UserError(f"The weights are another kind of Vision Transformer: {first_few(wrong, 4)} do not fit.")
    stream.load_state_dict(state, strict=False)


def load_vit(name: str, file: Path | None = None) -> VisionTransformer:
    """A pretrained ViT, by one of timm's model names, without a classifier.

    Its weights come from the hub, or from a file: .safetensors, or .pt, .pth or .bin, read with ``weights_only``.

    Raises:
        UserError: timm has no such ViT, the weights cannot be had, or those of the file are another model's.
    """
    vit = _create(name, pretrained=False)
    if not isinstance(vit, VisionTransformer):
        raise UserError(f"{name!r} is no plain Vision Transformer; take one such as vit_base_patch16_224.")
    if file is None:
        return pretrained(name)
    weights = checkpoint_filter_fn(read_weights(file), vit)  # resamples patches and positions
    expected = {key: value.shape for key, value in vit.state_dict().items()}
    shapes = {key: value.shape for key, value in weights.items() if not key.startswith("head")}
    if shapes != expected:
        wrong = sorted(key for key in shapes.keys() | expected.keys() if shapes.get(key) != expected.get(key))
        raise UserError(
            f"The weights {file} are not those of {name}, {wrong[:3]} do not fit; name the model that they belong to."
        )
    vit.load_state_dict(weights, strict=False)
    return vit


def fit_vit(vit: VisionTransformer, shape: tuple[int, int, int]) -> VisionTransformer:
    """Make a ViT take (C, H, W), in place: sides are rounded up to whole patches and positions resampled to them; a
    colour embedding is summed over channels for grey input."""
    patch = vit.patch_embed
    sides = tuple(-(-side // step) * step for side, step in zip(shape[1:], patch.patch_size, strict=True))
    vit.set_input_size(img_size=sides)
    if patch.proj.in_channels != shape[0]:
        kernel = _for_channels(patch.proj.weight.detach(), shape[0]).contiguous()
        patch.proj.weight, patch.proj.in_channels = nn.Parameter(kernel), shape[0]
    return vit


def pretrained(name: str) -> nn.Module:
    """A timm model with the hub's weights, without a classifier; raises UserError if they cannot be had."""
    try:
        return _create(name, pretrained=True)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The weights of {name!r} cannot be had from the hub ({_first_line(error)}); "
            "download them and give the file's path."
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from .pt, .pth or .bin, which are read with ``weights_only``; raises
    UserError."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights = dict(state.get("model", state.get("state_dict", state)))
        if odd := [name for name, value in weights.items() if not isinstance(name, str) or not torch.is_tensor(value)]:
            raise ValueError(f"{shown(odd[0])} is no tensor")
        return weights
    except Exception as error:
        raise UserError(f"The weights {path} cannot be read ({_first_line(error)}).") from error


def _first_line(error: Exception) -> str:
    return shown((str(error) or type(error).__name__).splitlines()[0])


def _create(name: str, pretrained: bool) -> nn.Module:
    if not timm.is_model(name.partition(".")[0]):
        raise UserError(
            f"There is neither a file nor a timm model {name!r}; give a name such as vit_base_patch16_224.mae."
        )
    return timm.create_model(name, pretrained=pretrained, num_classes=0)


def _for_channels(kernel: Tensor, channels: int) -> Tensor:
    """A patch embedding (D, C, h, w) for another number of channels: grey input gives what the same grey in colour
    gave."""
    if kernel.shape[1] == channels:
        return kernel
    return kernel.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def _positions(positions: Tensor, modality: Modality) -> Tensor:
    """(1, 1 + N, D) for the modality's grid. Weights say how many places they have, not their grid: unless the count is
    that of the modality, it must be a square."""
    places, side = positions.shape[1], math.isqrt(positions.shape[1])
    if places == modality.tokens or (places != modality.tokens + 1 and side**2 == places):  # none for the class token
        positions = torch.cat([torch.zeros_like(positions[:, :1]), positions], dim=1)
    side = math.isqrt(positions.shape[1] - 1)
    if side**2 == positions.shape[1] - 1:
        return resample_abs_pos_embed(positions.float(), list(modality.grid), num_prefix_tokens=1)
    if positions.shape[1] == modality.tokens + 1:
        return positions.float()
    raise UserError(
        f"The weights have positions for {places} tokens, which are no square grid and not {modality.grid}."
    )
