"""Weights from timm's Vision Transformer, to start from ImageNet, and to it, to classify with timm and peft."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.modality import Modality
from mmgen.models.streams import EncoderStream


def stream_to_timm(stream: EncoderStream, modality: Modality, heads: int) -> VisionTransformer:
    """A timm ViT with the stream's weights; it computes the stream's features of unmasked input without fusion, bit for
    bit in fp32.

    The ViT takes the padded size of the modality, normalised.
    """
    vit = VisionTransformer(
        img_size=modality.padded,
        patch_size=modality.patch,
        in_chans=modality.shape[0],
        num_classes=0,
        embed_dim=stream.norm.weight.shape[0],
        depth=len(stream.blocks),
        num_heads=heads,
    )
    state = {
        key: value for key, value in stream.state_dict().items() if key.startswith(("blocks.", "norm.", "cls_token"))
    }
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
    kernel = weights["patch_embed.proj.weight"].float()
    if kernel.shape[1] != modality.shape[0]:
        kernel = kernel.sum(1, keepdim=True).expand(-1, modality.shape[0], -1, -1) / modality.shape[0]
    kernel = resample_patch_embed(kernel, list(modality.patch))
    state["embed.weight"] = kernel.reshape(stream.embed.weight.shape)
    state["embed.bias"] = weights["patch_embed.proj.bias"]
    state["positions"] = _positions(weights["pos_embed"], modality)
    unused = stream.load_state_dict(state, strict=False)
    if unused.unexpected_keys or set(unused.missing_keys) - {"norm.weight", "norm.bias"}:
        raise UserError(
            "The weights are another kind of Vision Transformer: "
            f"{(unused.unexpected_keys + unused.missing_keys)[:4]} do not fit."
        )


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
