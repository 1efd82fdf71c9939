"""An encoder as a Vision Transformer of the package ``transformers``, which computes the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einops import rearrange
from torch import Tensor

from mmgen.models.mae_layers import EncoderStream
from mmgen.models.modality import Modality

if TYPE_CHECKING:
    from transformers import ViTModel


def stream_to_transformers(stream: EncoderStream, modality: Modality, heads: int) -> ViTModel:
    """A ``ViTModel`` without pooling layer with the stream's weights; its ``last_hidden_state`` is the stream's
    features of unmasked input without fusion.

    It takes the padded size of the modality, normalised.
    """
    from transformers import ViTConfig, ViTModel  # takes seconds to load

    dim = stream.norm.weight.shape[0]
    config = ViTConfig(
        hidden_size=dim,
        num_hidden_layers=len(stream.blocks),
        num_attention_heads=heads,
        intermediate_size=stream.blocks[0].mlp.fc1.out_features,
        layer_norm_eps=stream.norm.eps,
        image_size=list(modality.padded),
        patch_size=list(modality.patch),
        num_channels=modality.shape[0],
    )
    vit = ViTModel(config, add_pooling_layer=False)
    (h, w), channels = modality.patch, modality.shape[0]
    state = {
        "embeddings.cls_token": stream.cls_token,
        "embeddings.position_embeddings": stream.positions,
        "embeddings.patch_embeddings.projection.weight": rearrange(
            stream.embed.weight, "d (c h w) -> d c h w", c=channels, h=h, w=w
        ),
        "embeddings.patch_embeddings.projection.bias": stream.embed.bias,
        "layernorm.weight": stream.norm.weight,
        "layernorm.bias": stream.norm.bias,
    }
    for number, block in enumerate(stream.blocks):
        state |= {f"layers.{number}.{key}": value for key, value in _layer(block.state_dict()).items()}
    vit.load_state_dict(state)
    return vit.eval()


_NAMES = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj"}


def _layer(block: dict[str, Tensor]) -> dict[str, Tensor]:
    """A block's weights under the names of ``transformers``, which has query, key and value apart."""
    layer: dict[str, Tensor] = {}
    for key, value in block.items():
        part, _, kind = key.rpartition(".")
        if part == "attn.qkv":
            layer |= {f"attention.{name}_proj.{kind}": own for name, own in zip("qkv", value.chunk(3), strict=True)}
        else:
            layer[f"{_NAMES.get(part, part)}.{kind}"] = value
    return layer
