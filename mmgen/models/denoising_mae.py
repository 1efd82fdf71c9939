"""The denoising masked autoencoder: a hidden patch is not absent but noised, and the decoder removes the noise.

Noise alone in the place of every patch of every modality means: made from a label and chance. Noise alone in one step
is the masked autoencoder of the paper. Read from top to bottom: encode, decode, loss, sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE, Masked, random_masking
from mmgen.models.denoising_layers import DenoisingDecoder
from mmgen.models.denoising_requests import answer
from mmgen.models.denoising_steps import GUIDED, fixed_normal, hidden_patches, integrate, mask_orders, mean_square
from mmgen.models.generative import MaskRatio, Request, Sampling
from mmgen.models.modality import Modality

LEAST_DEVIATION = 0.02
"""Least deviation by which errors are divided, so that the last steps do not outweigh all others."""
GAP = 0.3
"""By how many deviations the lowest value of a modality is set apart, see :meth:`.Modality.set_apart`."""


class DenoisingMAE(CrossModalMAE):
    """A masked autoencoder whose decoders take noise out of hidden patches, at any time t from 0, noise alone, to 1.

    A noised patch is ``z = t x + (1 - t) e``, e standard normal, x in normalised units. The decoder predicts x
    (JiT, arXiv 2511.13720), beginning from Wiener's filter, and the loss is its squared error as a share of that
    filter's. Inputs and outputs of the public methods are in raw units.

    Args:
        modalities, dim, depth, heads, fusion_query, labels, preprocessing: as of :class:`CrossModalMAE`.
        decoder_dim, decoder_depth, decoder_heads: width, layers and attention heads of the decoders, which do more here
            than in a plain masked autoencoder.
        head_width: channels of the convolutions behind the decoders.
        decoder: "denoise"; says in ``config.json`` what the decoders are.

    Raises:
        UserError: as :class:`CrossModalMAE`.

    Example:
        >>> import torch
        >>> from mmgen import Modality
        >>> from mmgen.models.denoising_mae import DenoisingMAE
        >>> xray = Modality("image", shape=(1, 32, 32), patch=(8, 8))
        >>> cough = Modality("audio", shape=(1, 40, 20), patch=(10, 5))
        >>> model = DenoisingMAE([xray, cough], dim=32, depth=2, heads=2, decoder_dim=32, labels=("healthy", "covid"))
        >>> pairs = model.sample(torch.tensor([0, 1, 1]), steps=4)  # from labels and chance alone
        >>> pairs["audio"].shape
        torch.Size([3, 1, 40, 20])
    """

    kind = "denoising_mae"
    origin = "noise"
    threat = "G"

    @property
    def starts(self) -> tuple[str, ...]:
        """A label and chance; one modality, of which the others are made; or parts of all, which then are copied."""
        return ("label", *(self.modalities if len(self.modalities) > 1 else ()), "samples")

    def __init__(
        self,
        modalities: Sequence[Modality | Mapping[str, Any]],
        dim: int = 256,
        depth: int = 6,
        heads: int = 8,
        decoder_dim: int = 256,
        decoder_depth: int = 6,
        decoder_heads: int = 8,
        head_width: int = 32,
        fusion_query: Literal["own"] = "own",
        labels: Sequence[str] = (),
        preprocessing: Mapping[str, Mapping[str, Any]] | None = None,
        decoder: Literal["denoise"] = "denoise",
    ) -> None:
        if decoder != "denoise" or fusion_query != "own":
            raise UserError("A denoising decoder goes with fusion_query 'own' alone; the decoder 'mse' takes others.")
        sizes = {"dim": dim, "depth": depth, "heads": heads}
        sizes |= {"decoder_dim": decoder_dim, "decoder_depth": decoder_depth, "decoder_heads": decoder_heads}
        self._head_width = head_width
        super().__init__(modalities, **sizes, labels=labels, preprocessing=preprocessing)
        unused = ("visible_weight", "head")  # visible patches are never decoded
        self.config = {name: value for name, value in self.config.items() if name not in unused}
        self.config |= {"decoder": decoder, "head_width": head_width}

    def _make_decoder(self, modality: Modality) -> nn.Module:
        own = self.config
        sizes = (own["dim"], own["decoder_dim"], own["decoder_depth"], own["decoder_heads"])
        return DenoisingDecoder(modality, *sizes, len(self.class_names), len(self.modalities) > 1, self._head_width)

    @property
    def no_label(self) -> int:
        """The number that stands for no label."""
        return len(self.class_names)

    def normalised(self, name: str, x: Tensor) -> Tensor:
        """Raw samples (B, C, H, W) of a modality as the network sees them, the lowest value set apart."""
        return super().normalised(name, self.modalities[name].set_apart(x, GAP))

    # -- loss

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        mask_ratio: MaskRatio = 0.75,
        noise: Mapping[str, Tensor] | None = None,
        labels: Tensor | None = None,
        times: Mapping[str, Tensor] | None = None,
        gaussian: Mapping[str, Tensor] | None = None,
        augmentation: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Loss of each given modality of which anything is hidden, a scalar: {name: (B, C, H, W)} -> {name: ()}. One
        that is not given is hidden whole.

        It is the squared error of the prediction as a share of what Wiener's filter gets wrong at that time, averaged
        over the valid elements of a sample's hidden patches, then over samples.

        Args:
            mask_ratio, noise: which patches are hidden, as of :class:`CrossModalMAE`.
            labels: (B,) integers, :attr:`no_label` where a sample has none; None: none has.
            times: {name: (B,)} of each sample, 0..1; None: 0, which is the plain masked autoencoder.
            gaussian: {name: (B, N, P)} standard normal; drawn if absent.
            augmentation: {name: (B, TOLD)} how each sample was changed, see :func:`mmgen.training.augmentation.told`;
                None: not at all.
        """
        if gaussian is None:
            gaussian = {name: torch.randn(len(x), *self.valid(name).shape) for name, x in inputs.items()}
        drawn = (mask_ratio, noise, labels, times, gaussian, augmentation)
        losses = {}
        for name, x, (made, deviation), masked in self._predictions(inputs, *drawn):
            if self.ratios(mask_ratio)[name] == 0.0:
                continue
            weight = self.valid(name) * masked.mask.unsqueeze(-1)
            losses[name] = (mean_square(made - x, weight) / deviation.clamp_min(LEAST_DEVIATION) ** 2).mean()
        return losses

    def patch_losses(
        self,
        inputs: Mapping[str, Tensor],
        mask_ratio: MaskRatio = 0.75,
        noise: Mapping[str, Tensor] | None = None,
        labels: Tensor | None = None,
        times: Mapping[str, Tensor] | None = None,
        gaussian: Mapping[str, Tensor] | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Squared error of every patch's prediction and its mask: {name: ((B, N), (B, N))}, mask 1 = hidden; visible
        patches are predicted too, but nothing has taught the model to. Arguments as of :meth:`forward`; without
        ``gaussian`` the noise is the same at every call."""
        losses = {}
        for name, x, (made, _), masked in self._predictions(inputs, mask_ratio, noise, labels, times, gaussian, None):
            made, x = map(self.modalities[name].put_back, (made, x))
            error = ((made - x) ** 2 * self.valid(name)).sum(-1) / self.valid(name).sum(-1).clamp_min(1.0)
            losses[name] = error, masked.mask
        return losses

    def _predictions(
        self, inputs: Mapping[str, Tensor], mask_ratio: MaskRatio, noise: Mapping[str, Tensor] | None,
        labels: Tensor | None, times: Mapping[str, Tensor] | None, gaussian: Mapping[str, Tensor] | None,
        augmentation: Mapping[str, Tensor] | None,
    ) -> Iterator[tuple[str, Tensor, tuple[Tensor, Tensor], Masked]]:  # fmt: skip
        """Name, clean patches, prediction with the deviation of the guess, and masks of each given modality."""
        given = self._patches(inputs)
        batch, device = len(next(iter(given.values()))), next(iter(given.values())).device
        patches = {name: given.get(name, self._absent(name, batch, device)) for name in self.modalities}
        ratios = {name: ratio if name in given else 1.0 for name, ratio in self.ratios(mask_ratio).items()}
        masked = self._mask(patches, ratios, mask_orders(patches, ratios, noise or {}))
        latent = self._encode(patches, masked)
        for name, x in given.items():
            time = torch.zeros(batch, device=device) if times is None else times[name].to(device)
            normal = fixed_normal(x) if gaussian is None else gaussian[name].to(device)
            noised = torch.lerp(normal, x, time[:, None, None]) * self.valid(name)
            noised = torch.lerp(x, noised, masked[name].mask.unsqueeze(-1))
            changed = None if augmentation is None else augmentation[name].to(device)
            told = self._labels(labels, x)
            yield name, x, self._denoised(name, noised, latent, masked, time, told, changed), masked[name]

    def _denoised(
        self, name: str, noised: Tensor, latent: Mapping[str, Tensor], masked: Mapping[str, Masked], time: Tensor,
        labels: Tensor, augmentation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        others = [tokens for other, tokens in latent.items() if other != name]
        return self.decoders[name](latent[name], noised, masked[name].ids_restore, time, labels, others, augmentation)

    def _absent(self, name: str, batch: int, device: torch.device) -> Tensor:
        """Patches (B, N, P) of which nothing will be seen."""
        return torch.zeros(batch, *self.valid(name).shape, device=device)

    def _labels(self, labels: Tensor | None, like: Tensor) -> Tensor:
        """(B,) on the device of ``like``."""
        if labels is None:
            return torch.full((len(like),), self.no_label, device=like.device)
        return labels.to(like.device)

    def parameters_of_loss(self, name: str) -> dict[str, nn.Parameter]:
        """Trainable parameters that the loss of modality ``name`` can reach: all but the others' decoders, for its own
        reads the others' encoded tokens."""
        others = tuple(f"decoders.{other}." for other in self.modalities if other != name)
        return {key: p for key, p in self.named_parameters() if p.requires_grad and not key.startswith(others)}

    # -- sample

    @torch.no_grad()
    def sample(
        self,
        labels: Tensor,
        steps: int = Sampling.steps,
        guidance: float = Sampling.guidance,
        gaussian: Mapping[str, Tensor] | None = None,
        inputs: Mapping[str, Tensor] | None = None,
        order: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        """Samples of all modalities, {name: (B, C, H, W)} raw float32.

        One modality is made after the other; what is made is seen by those that follow, so that a tuple belongs
        together.

        Args:
            labels: (B,) integers, :attr:`no_label` for no label.
            steps: network passes a modality; guided ones have twice the batch.
            guidance: 1 follows the label as training did, more exaggerates it.
            gaussian: {name: (B, N, P)} standard normal to start from; drawn if absent.
            inputs: modalities that are given, {name: (B, C, H, W)}; the others are made from them.
            order: in which modalities are made; that of the model if absent.
        """
        sampling = Sampling(steps, guidance)
        if outside := [int(label) for label in labels.unique() if not 0 <= label <= self.no_label]:
            raise UserError(f"The model has {self.no_label} labels, numbered from 0; there is no label {outside[0]}.")
        made, labels = dict(inputs or {}), labels.to(next(self.parameters()).device)
        for name in order or self.modalities:
            self._known(name)
            if name not in made:
                absent = [other for other in self.modalities if other not in made]
                hidden = {other: torch.ones(len(labels), self.modalities[other].tokens) for other in absent}
                made[name] = self._completed(made, hidden, labels, sampling, gaussian, [name])[name]
        return {name: made[name] for name in self.modalities if name in made}

    @torch.no_grad()
    def complete(
        self,
        inputs: Mapping[str, Tensor],
        hidden: Mapping[str, Tensor],
        labels: Tensor | None = None,
        steps: int = Sampling.steps,
        guidance: float = Sampling.guidance,
        gaussian: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """What is hidden of each modality, filled in; visible patches stay the inputs' own.

        Args:
            inputs: {name: (B, C, H, W)} raw; a modality may be absent where all of it is hidden.
            hidden: {name: (B, N)}, 1 for patches to make, as many in every sample; a modality that is not named is
                visible whole.
            labels, steps, guidance, gaussian: as of :meth:`sample`.
        """
        sampling = Sampling(steps, guidance)
        labels = None if labels is None else labels.to(next(self.parameters()).device)
        return self._completed(inputs, hidden, labels, sampling, gaussian, [*inputs, *hidden])

    def _completed(
        self, inputs: Mapping[str, Tensor], hidden: Mapping[str, Tensor], labels: Tensor | None, sampling: Sampling,
        gaussian: Mapping[str, Tensor] | None, wanted: Sequence[str],
    ) -> dict[str, Tensor]:  # fmt: skip
        names = [name for name in self.modalities if name in inputs or name in hidden]
        batch, device = len(next(iter({**inputs, **hidden}.values()))), next(self.parameters()).device
        given = self._patches(inputs)
        patches = {name: given.get(name, self._absent(name, batch, device)) for name in names}
        masked = {name: hidden_patches(hidden.get(name), patches[name]) for name in names}
        latent = self._encode(patches, masked)
        outputs = {}
        for name in (name for name in names if name in wanted):
            x, modality = patches[name], self.modalities[name]
            if masked[name].ids_keep.shape[1] < modality.tokens:
                start = torch.randn_like(x) if gaussian is None else gaussian[name].to(device)
                x = self._integrated(name, x, start, latent, masked, self._labels(labels, x), sampling)
            outputs[name] = modality.denormalise(modality.unpatchify(x))
        return outputs

    def _integrated(
        self, name: str, x: Tensor, z: Tensor, latent: Mapping[str, Tensor], masked: Mapping[str, Masked],
        labels: Tensor, sampling: Sampling,
    ) -> Tensor:  # fmt: skip
        """Patches (B, N, P) whose hidden ones are made from noise ``z``; visible ones stay those of ``x``."""
        hidden = masked[name].mask.unsqueeze(-1)

        def predict(noised: Tensor, time: float) -> Tensor:
            noised = torch.lerp(x, noised * self.valid(name), hidden)
            return torch.lerp(x, self._guided(name, noised, latent, masked, time, labels, sampling.guidance), hidden)

        return integrate(z, predict, sampling.steps)

    def _guided(
        self, name: str, z: Tensor, latent: Mapping[str, Tensor], masked: Mapping[str, Masked], time: float,
        labels: Tensor, guidance: float,
    ) -> Tensor:  # fmt: skip
        """The prediction with the label, and beyond it, away from that without one (Ho and Salimans 2022)."""
        if guidance == 1.0 or not GUIDED[0] < time < GUIDED[1]:
            return self._denoised(name, z, latent, masked, z.new_full((len(z),), time), labels)[0]
        both = {other: torch.cat([tokens, tokens]) for other, tokens in latent.items()}
        twice = {name: Masked(*(torch.cat([part, part]) for part in masked[name]))}
        asked = torch.cat([labels, torch.full_like(labels, self.no_label)])
        times = z.new_full((2 * len(z),), time)
        with_label, without = self._denoised(name, torch.cat([z, z]), both, twice, times, asked)[0].chunk(2)
        return torch.lerp(without, with_label, guidance)

    def make(self, request: Request) -> dict[str, Tensor]:
        """What the request does not give, made from labels, noise and what it gives; an item is the same to the bit
        whatever other items are asked for."""
        return answer(self, request)

    # -- the masked autoencoder

    @torch.no_grad()
    def reconstruct(
        self,
        inputs: Mapping[str, Tensor],
        mask_ratio: MaskRatio = 0.75,
        noise: Mapping[str, Tensor] | None = None,
        paste_visible: bool = True,
        gaussian: Mapping[str, Tensor] | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Hidden patches in one step from noise alone, as a masked autoencoder makes them; visible ones stay the input.

        A modality that is not in ``inputs`` is made from the others alone. The noise is the same at every call unless
        ``gaussian`` is given.

        Raises:
            UserError: without ``paste_visible``, for visible patches are not decoded; or nothing to start from.
        """
        if not paste_visible:
            raise UserError("A denoising masked autoencoder does not decode visible patches; it keeps the inputs' own.")
        if not inputs:
            raise UserError(f"reconstruct needs at least one of {list(self.modalities)}.")
        order = {**self.noise(len(next(iter(inputs.values())))), **(noise or {})}
        ratios = self.ratios(mask_ratio)
        hidden = {
            name: random_masking(order[name], ratios[name] if name in inputs else 1.0).mask for name in self.modalities
        }
        if gaussian is None:
            batch = len(next(iter(inputs.values())))
            gaussian = {name: fixed_normal(self.valid(name).expand(batch, -1, -1)) for name in self.modalities}
        return self.complete(inputs, hidden, labels, steps=1, guidance=1.0, gaussian=gaussian)
