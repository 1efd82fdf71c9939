"""Modalities: every size in a model is derived from here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from mmgen.errors import UserError


@dataclass(frozen=True)
class Modality:
    """One kind of input, e.g. a chest X-ray or a log-mel segment.

    Args:
        name: key of this modality in every batch, letters, digits and underscores.
        shape: (C, H, W) of one sample in raw units.
        patch: (h, w) of one token.
        mean, std: normalisation in raw units, one number or one a channel.
        pad_to: (H', W') to which samples are padded at the bottom and right before patchifying, with the mean. None
            pads to the next multiple of the patch. Padding carries no loss and is cut off again by :meth:`unpatchify`.
        value_range: (low, high) of valid raw values; what a model makes is clamped to it. None: unbounded.

    Raises:
        UserError: sizes that do not fit together.

    Example:
        >>> from mmgen import Modality
        >>> xray = Modality("image", shape=(1, 224, 224), patch=(16, 16), mean=(128.0,), std=(64.0,))
        >>> xray.grid, xray.tokens, xray.patch_size
        ((14, 14), 196, 256)
    """

    name: str
    shape: tuple[int, int, int]
    patch: tuple[int, int]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pad_to: tuple[int, int] | None = None
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for field in ("shape", "patch", "mean", "std", "pad_to", "value_range"):  # JSON turns tuples into lists
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, tuple(value))
        if not self.name.isidentifier():
            raise UserError(f"Modality name {self.name!r} must be made of letters, digits and underscores.")
        this = f"Modality {self.name!r}"
        if min(*self.shape, *self.patch) < 1:
            raise UserError(f"{this}: shape {self.shape} and patch {self.patch} must be positive.")
        for statistic in (self.mean, self.std):
            if len(statistic) not in (1, self.shape[0]):
                raise UserError(f"{this}: mean and std need 1 or {self.shape[0]} numbers, got {len(statistic)}.")
        if min(self.std) <= 0:
            raise UserError(f"{this}: std must be positive, got {self.std}; is every training sample constant?")
        height, width = self.padded
        if height % self.patch[0] or width % self.patch[1] or height < self.shape[1] or width < self.shape[2]:
            sizes = f"{self.shape[1:]} and be a multiple of the patch {self.patch}"
            raise UserError(f"{this}: pad_to {self.pad_to} must hold {sizes}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; ``Modality(**values)`` is the inverse."""
        return asdict(self)

    @property
    def padded(self) -> tuple[int, int]:
        """(H', W') after padding."""
        if self.pad_to is not None:
            return self.pad_to
        return (-(-self.shape[1] // self.patch[0]) * self.patch[0], -(-self.shape[2] // self.patch[1]) * self.patch[1])

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens along height and width."""
        return (self.padded[0] // self.patch[0], self.padded[1] // self.patch[1])

    @property
    def tokens(self) -> int:
        """N, tokens of one sample."""
        return self.grid[0] * self.grid[1]

    @property
    def patch_size(self) -> int:
        """P, numbers in one patch: C * h * w."""
        return self.shape[0] * self.patch[0] * self.patch[1]

    def normalise(self, x: Tensor) -> Tensor:
        """Raw units -> mean 0, deviation 1; (B, C, H, W) of any dtype -> float32."""
        return (x.float() - self._per_channel(self.mean, x)) / self._per_channel(self.std, x)

    def denormalise(self, x: Tensor) -> Tensor:
        """Inverse of :meth:`normalise`, clamped to ``value_range``."""
        raw = x.float() * self._per_channel(self.std, x) + self._per_channel(self.mean, x)
        return raw if self.value_range is None else raw.clamp(*self.value_range)

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, P); P is ordered (C, h, w) as in a patch-embedding convolution."""
        if tuple(x.shape[1:]) != self.shape:
            raise UserError(f"Modality {self.name!r} expects samples of shape {self.shape}, got {tuple(x.shape[1:])}.")
        height, width = self.padded
        x = F.pad(x, (0, width - self.shape[2], 0, height - self.shape[1]))
        h, w = self.patch
        return rearrange(x, "b c (gh h) (gw w) -> b (gh gw) (c h w)", h=h, w=w)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, C, H, W), padding cut off."""
        (gh, gw), (h, w) = self.grid, self.patch
        x = rearrange(patches, "b (gh gw) (c h w) -> b c (gh h) (gw w)", gh=gh, gw=gw, h=h, w=w)
        return x[..., : self.shape[1], : self.shape[2]]

    def valid(self) -> Tensor:
        """(N, P) float: 1 where a patch element is data, 0 where it is padding."""
        return self.patchify(torch.ones(1, *self.shape))[0]

    @staticmethod
    def _per_channel(statistic: tuple[float, ...], x: Tensor) -> Tensor:
        return torch.tensor(statistic, dtype=torch.float32, device=x.device).view(-1, 1, 1)
