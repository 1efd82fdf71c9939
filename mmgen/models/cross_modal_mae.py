"""The cross-modal masked autoencoder (MMAE paper, section III-E) for any number of modalities: mask, encode, decode,
loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.generative import GenerativeModel, MaskRatio, Request
from mmgen.models.mae_layers import Decoder, EncoderStream, FusionQuery, GradualCrossAttention, initialise
from mmgen.models.modality import Modality
from mmgen.models.seeds import mask_stream
from mmgen.models.timm_bridge import stream_to_timm
from mmgen.models.transformers_bridge import stream_to_transformers

if TYPE_CHECKING:
    from transformers import ViTModel

# Numbers in one sample of all modalities: 4096 x 4096 grey pixels. Masks of padding are of this size.
_LARGEST_SAMPLE = 1 << 24


def visible_count(tokens: int, mask_ratio: float) -> int:
    """How many of ``tokens`` stay visible: rounded, at least one unless ``mask_ratio`` is 1.

    Raises:
        UserError: ratio outside 0..1.
    """
    if not 0.0 <= mask_ratio <= 1.0:
        raise UserError(f"A mask ratio lies between 0 and 1, got {mask_ratio}.")
    if mask_ratio == 1.0:
        return 0
    return max(1, round(tokens * (1.0 - mask_ratio)))


class Masked(NamedTuple):
    """Which tokens of one modality are hidden.

    Attributes:
        ids_keep: (B, V) visible tokens.
        ids_restore: (B, N) puts visible tokens, followed by hidden ones, back in place.
        mask: (B, N) float in the original order: 1 where hidden, 0 where visible.
    """

    ids_keep: Tensor
    ids_restore: Tensor
    mask: Tensor


def random_masking(noise: Tensor, mask_ratio: float) -> Masked:
    """Hide all tokens but those with the least uniform noise (B, N); shapes depend on the ratio, never on the data.

    Raises:
        UserError: ratio outside 0..1.
    """
    visible = visible_count(noise.shape[1], mask_ratio)
    ids_shuffle = noise.argsort(dim=1, stable=True)
    ids_restore = ids_shuffle.argsort(dim=1)
    return Masked(ids_shuffle[:, :visible], ids_restore, (ids_restore >= visible).float())


class CrossModalMAE(GenerativeModel):
    """K masked autoencoders whose encoders exchange information by gradual cross-attention.

    With K = 1 this is the plain masked autoencoder. All inputs and outputs of the public methods are in raw units
    (images 0..255, log-mels as natural logarithm of power); normalisation happens inside.

    Args:
        modalities: one :class:`Modality` (or its dictionary) for each stream.
        dim, depth, heads: width, layers and attention heads of every encoder stream.
        decoder_dim, decoder_depth, decoder_heads: the same of the light decoders.
        fusion_query: orientation of the cross-attention, see :class:`GradualCrossAttention`.
        visible_weight: weight of visible patches in the loss. They count because generation decodes every patch.
        head: decoder head by name, see :data:`mmgen.models.mae_layers.HEADS`.
        labels: class names the model was trained with, kept for the card and for generation.
        preprocessing: how files became tensors, one JSON-able dictionary a modality; opaque here.

    Raises:
        UserError: no or duplicate modalities, samples of more than 2^24 numbers, or ``fusion_query="other"`` with
            unequal token counts.

    Example:
        >>> import torch
        >>> from mmgen import CrossModalMAE, Modality
        >>> xray = Modality("image", shape=(1, 32, 32), patch=(8, 8))
        >>> cough = Modality("audio", shape=(1, 40, 20), patch=(10, 5))
        >>> model = CrossModalMAE([xray, cough], dim=32, depth=2, heads=2)
        >>> coughs = model.reconstruct({"image": torch.zeros(3, 1, 32, 32)})["audio"]  # from X-rays alone
        >>> coughs.shape
        torch.Size([3, 1, 40, 20])
    """

    kind = "cross_modal_mae"
    origin = "real"
    threat = "S"  # it is queried with real samples, which an attacker does not have, but for the sets made of it
    starts: tuple[str, ...] = ("samples",)
    may_hold_real_pixels = False  # every patch is decoded unless visible ones are pasted, which the data set then says

    def __init__(
        self,
        modalities: Sequence[Modality | Mapping[str, Any]],
        dim: int = 256,
        depth: int = 6,
        heads: int = 8,
        decoder_dim: int = 128,
        decoder_depth: int = 2,
        decoder_heads: int = 4,
        fusion_query: FusionQuery = "own",
        visible_weight: float = 0.25,
        head: str = "mse",
        labels: Sequence[str] = (),
        preprocessing: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        parsed = [m if isinstance(m, Modality) else Modality(**m) for m in modalities]
        self.modalities = {modality.name: modality for modality in parsed}
        if not parsed or len(self.modalities) != len(parsed):
            raise UserError(f"A model needs at least one modality and different names, got {[m.name for m in parsed]}.")
        counts = {name: modality.tokens for name, modality in self.modalities.items()}
        if (size := sum(modality.tokens * modality.patch_size for modality in parsed)) > _LARGEST_SAMPLE:
            raise UserError(
                f"A sample of all modalities has {size:,} numbers, more than {_LARGEST_SAMPLE:,}; make it smaller."
            )
        if fusion_query == "other" and len(set(counts.values())) > 1:
            raise UserError(
                f"fusion_query='other' needs equal token counts, got {counts}; change patches or padding, or use 'own'."
            )
        self.class_names = tuple(labels)
        known = {name: dict(values) for name, values in (preprocessing or {}).items()}
        self.config = {"modalities": [modality.to_dict() for modality in parsed]}
        self.config |= {"dim": dim, "depth": depth, "heads": heads}
        self.config |= {"decoder_dim": decoder_dim, "decoder_depth": decoder_depth, "decoder_heads": decoder_heads}
        self.config |= {"fusion_query": fusion_query, "visible_weight": visible_weight, "head": head}
        self.config |= {"labels": list(labels), "preprocessing": known}
        self.depth, self.heads = depth, heads
        self.visible_weight = visible_weight
        self.streams = nn.ModuleDict({name: EncoderStream(m, dim, depth, heads) for name, m in self.modalities.items()})
        self.decoders = nn.ModuleDict(
            {name: self._make_decoder(modality) for name, modality in self.modalities.items()}
        )
        self.fusion = nn.ModuleList()
        for layer in range(depth if len(parsed) > 1 else 0):
            xi = layer / max(1, depth - 1)  # a ramp from 0 to 1: late fusion is the better prior (section III-C)
            terms = {name: GradualCrossAttention(dim, heads, xi, fusion_query) for name in self.modalities}
            self.fusion.append(nn.ModuleDict(terms).apply(initialise))
        for name, modality in self.modalities.items():
            self.register_buffer(f"valid_{name}", modality.valid(), persistent=False)

    def _make_decoder(self, modality: Modality) -> nn.Module:
        own = self.config
        light = (own["decoder_dim"], own["decoder_depth"], own["decoder_heads"], own["head"])
        return Decoder(modality, own["dim"], *light)

    # -- mask, encode, decode, loss

    def forward(
        self, inputs: Mapping[str, Tensor], mask_ratio: MaskRatio = 0.75, noise: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Loss of each modality, a scalar in normalised units: {name: (B, C, H, W)} -> {name: ()}.

        It is the weighted mean over each sample's patches (masked 1, visible ``visible_weight``, by share of valid
        elements), then over samples. A modality with nothing masked or nothing visible still gives a loss that is
        attached to the graph.
        """
        losses = {}
        for name, (loss, mask) in self.patch_losses(inputs, mask_ratio, noise).items():
            weight = self.valid(name).mean(-1) * (mask + self.visible_weight * (1.0 - mask))
            # Within a sample first, so that the loss of a batch is the mean of its parts', on any number of processes.
            losses[name] = ((loss * weight).sum(1) / weight.sum(1).clamp_min(1e-8)).mean()
        return losses

    def patch_losses(
        self, inputs: Mapping[str, Tensor], mask_ratio: MaskRatio = 0.75, noise: Mapping[str, Tensor] | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Loss of every patch and its mask: {name: ((B, N), (B, N))}, mask 1 = masked."""
        patches = self._patches(inputs)
        masked = self._mask(patches, mask_ratio, noise)
        latent = self._encode(patches, masked)
        decoded = self._decode(latent, masked)
        return {
            name: (self.decoders[name].head.loss(decoded[name], patches[name], self.valid(name)), masked[name].mask)
            for name in patches
        }

    def _patches(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Normalised patches {name: (B, N, P)}, in the model's order of modalities."""
        for name in inputs:
            self._known(name)
        return {
            name: m.patchify(self.normalised(name, inputs[name]))
            for name, m in self.modalities.items()
            if name in inputs
        }

    def normalised(self, name: str, x: Tensor) -> Tensor:
        """Raw samples (B, C, H, W) of a modality as the network sees them; ``denormalise`` is the inverse."""
        return self.modalities[name].normalise(x)

    def _mask(
        self, patches: Mapping[str, Tensor], mask_ratio: MaskRatio, noise: Mapping[str, Tensor] | None
    ) -> dict[str, Masked]:
        ratios = self.ratios(mask_ratio)
        noise = {name: torch.rand(x.shape[:2]) for name, x in patches.items()} if noise is None else noise
        return {
            name: random_masking(noise[name].to(x.device, non_blocking=True), ratios[name])
            for name, x in patches.items()
        }

    def _encode(self, patches: Mapping[str, Tensor], masked: Mapping[str, Masked] | None) -> dict[str, Tensor]:
        ids_keep = {name: None if masked is None else masked[name].ids_keep for name in patches}
        z = {name: self.streams[name].tokens(x, ids_keep[name]) for name, x in patches.items()}
        for layer in range(self.depth):
            if len(z) > 1:
                z = {name: z[name] + self.fusion[layer][name](z[name], [z[o] for o in z if o != name]) for name in z}
            z = {name: self.streams[name].blocks[layer](z[name]) for name in z}
        return {name: self.streams[name].norm(z[name]) for name in z}

    def _decode(self, latent: Mapping[str, Tensor], masked: Mapping[str, Masked]) -> dict[str, Tensor]:
        return {name: self.decoders[name](z, masked[name].ids_restore) for name, z in latent.items()}

    # -- training

    def valid(self, name: str) -> Tensor:
        """(N, P): 1 where an element of a patch is data, 0 where it is padding."""
        return getattr(self, f"valid_{name}")

    def parameters_of_loss(self, name: str) -> dict[str, nn.Parameter]:
        """Trainable parameters that the loss of modality ``name`` can reach."""
        last = self.depth - 1
        # The last layer's output for another modality is read by that modality's decoder alone.
        ends = ("decoders.{0}.", f"streams.{{0}}.blocks.{last}.", "streams.{0}.norm.", f"fusion.{last}.{{0}}.")
        out_of_reach = tuple(end.format(other) for other in self.modalities if other != name for end in ends)
        return {key: p for key, p in self.named_parameters() if p.requires_grad and not key.startswith(out_of_reach)}

    def gates(self) -> dict[str, list[Tensor]]:
        """xi of every layer, first to last, for each modality (detached)."""
        return {name: [layer[name].xi.detach() for layer in self.fusion] for name in self.modalities}

    # -- use

    def encode(
        self, inputs: Mapping[str, Tensor], mask_ratio: MaskRatio = 0.0, noise: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Features {name: (B, 1 + V, D)}, class token first. Modalities that are not given are left out of fusion."""
        patches = self._patches(inputs)
        if mask_ratio == 0.0 and noise is None:
            return self._encode(patches, None)
        return self._encode(patches, self._mask(patches, mask_ratio, noise))

    @torch.no_grad()
    def reconstruct(
        self,
        inputs: Mapping[str, Tensor],
        mask_ratio: MaskRatio = 0.75,
        noise: Mapping[str, Tensor] | None = None,
        paste_visible: bool = False,
    ) -> dict[str, Tensor]:
        """Decode every patch of every modality: {name: (B, C, H, W)} -> the same in raw units, float32.

        A modality that is not in ``inputs`` is made from the others alone, as at mask ratio 1.

        Args:
            paste_visible: keep the visible patches of the input. This copies real data into the output.
        """
        ratios, inputs = self.ratios(mask_ratio), dict(inputs)
        noise = None if noise is None else dict(noise)
        if not inputs:
            raise UserError(f"reconstruct needs at least one of {list(self.modalities)}.")
        example = next(iter(inputs.values()))
        for name in self.modalities.keys() - inputs.keys():
            ratios[name] = 1.0
            blank = torch.tensor(self.modalities[name].mean, device=example.device).view(1, -1, 1, 1)
            inputs[name] = blank.expand(len(example), *self.modalities[name].shape)
            if noise is not None:  # nothing of it is visible, so any order will do
                noise.setdefault(name, torch.zeros(len(example), self.modalities[name].tokens))
        patches = self._patches(inputs)
        masked = self._mask(patches, ratios, noise)
        decoded = self._decode(self._encode(patches, masked), masked)
        outputs: dict[str, Tensor] = {}
        for name, modality in self.modalities.items():
            x = self.decoders[name].head(decoded[name])
            if paste_visible:
                x = torch.lerp(patches[name], x, masked[name].mask.unsqueeze(-1))
            outputs[name] = modality.denormalise(modality.unpatchify(x))
        return outputs

    def make(self, request: Request) -> dict[str, Tensor]:
        """:meth:`reconstruct` of ``request.inputs``, each item with masks of its own."""
        items = zip(request.indices.tolist(), request.steps.tolist(), strict=True)
        drawn = [self.noise(1, mask_stream(request.seed, index, step)) for index, step in items]
        noise = {name: torch.cat([one[name] for one in drawn]) for name in self.modalities}
        return self.reconstruct(request.inputs, request.ratios, noise, request.paste_visible)

    def ratios(self, mask_ratio: MaskRatio) -> dict[str, float]:
        """One mask ratio for each modality from one number or a mapping; a mapping must name every modality."""
        if not isinstance(mask_ratio, Mapping):
            return dict.fromkeys(self.modalities, float(mask_ratio))
        if mask_ratio.keys() != self.modalities.keys():
            raise UserError(f"Mask ratios are needed for {list(self.modalities)}, got {list(mask_ratio)}.")
        return {name: float(mask_ratio[name]) for name in self.modalities}

    @property
    def preprocessing(self) -> dict[str, dict[str, Any]]:
        """How files became tensors, by modality, in the model's order of them."""
        known = self.config["preprocessing"]
        return {name: known[name] for name in self.modalities if name in known}

    def noise(self, batch: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Masking noise {name: (B, N)}, drawn on the CPU in a fixed order."""
        return {
            name: torch.rand(batch, modality.tokens, generator=generator) for name, modality in self.modalities.items()
        }

    @property
    def autoencoder(self) -> CrossModalMAE:
        """Itself."""
        return self

    @property
    def encoders(self) -> Mapping[str, Modality]:
        """All modalities."""
        return self.modalities

    def to_timm(self, name: str) -> VisionTransformer:
        """The encoder of one modality as a timm ``VisionTransformer`` without a classifier.

        Its input is ``modality.normalise(x)``, padded with zeros at the bottom and right to ``modality.padded``.
        """
        self._known(name)
        return stream_to_timm(self.streams[name], self.modalities[name], self.heads)

    def to_transformers(self, name: str) -> ViTModel:
        """The encoder of one modality as a ``ViTModel`` of the package ``transformers``; its input is that of
        :meth:`to_timm`."""
        self._known(name)
        return stream_to_transformers(self.streams[name], self.modalities[name], self.heads)

    def _known(self, name: str) -> None:
        if name not in self.modalities:
            raise UserError(f"This model has the modalities {list(self.modalities)}, not {name!r}.")
