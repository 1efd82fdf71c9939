"""Modalities: every size in a model is derived from here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from mmgen.errors import UserError, shown

_LONGEST_NAME = 100
_LARGEST = torch.finfo(torch.float32).max
_SMALLEST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Modality:
    """One kind of input, e.g. a chest X-ray or a log-mel segment.

    Args:
        name: key of this modality in every batch, at most 100 letters, digits and underscores.
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
        if not (isinstance(self.name, str) and self.name.isidentifier() and len(self.name) <= _LONGEST_NAME):
            kinds = f"at most {_LONGEST_NAME} letters, digits and underscores"
            raise UserError(f"Modality name {shown(repr(self.name))} must be made of {kinds}.")
        this = f"Modality {self.name!r}"
        pad_to = (1, 1) if self.pad_to is None else self.pad_to
        whole = all(isinstance(size, Integral) and size >= 1 for size in (*self.shape, *self.patch, *pad_to))
        if not whole or (len(self.shape), len(self.patch), len(pad_to)) != (3, 2, 2):
            sizes = f"three sizes of shape {self.shape}, two of patch {self.patch} and of pad_to {self.pad_to}"
            raise UserError(f"{this}: the {sizes} must be positive whole numbers.")
        self._check_statistics(this)
        height, width = self.padded
        if height % self.patch[0] or width % self.patch[1] or height < self.shape[1] or width < self.shape[2]:
            sizes = f"{self.shape[1:]} and be a multiple of the patch {self.patch}"
            raise UserError(f"{this}: pad_to {self.pad_to} must hold {sizes}.")

    def _check_statistics(self, this: str) -> None:
        limits = (0.0, 1.0) if self.value_range is None else self.value_range
        for number in (*self.mean, *self.std, *limits):
            if not (isinstance(number, Real) and abs(number) <= _LARGEST):
                raise UserError(f"{this}: mean, std and value_range must be finite numbers, got {shown(number)}.")
        for statistic in (self.mean, self.std):
            if len(statistic) not in (1, self.shape[0]):
                raise UserError(f"{this}: mean and std need 1 or {self.shape[0]} numbers, got {len(statistic)}.")
        if min(self.std) < _SMALLEST:
            raise UserError(f"{this}: std must be positive, got {self.std}; is every training sample constant?")
        if len(limits) != 2 or limits[0] >= limits[1]:
            raise UserError(f"{this}: value_range is (low, high), got {self.value_range}.")

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

    def set_apart(self, x: Tensor, by: float) -> Tensor:
        """Raw samples whose values at the low end of ``value_range`` are ``by`` deviations below it.

        Silence, or what lies beside a body, has one value, in up to half of a sample; a network that predicts means
        hardly ever meets it. What is predicted between it and the faintest other values becomes it again when
        :meth:`denormalise` clamps.
        """
        if self.value_range is None:
            return x
        low = self.value_range[0]
        return torch.where(x <= low, low - by * self._per_channel(self.std, x), x)

    def put_back(self, patches: Tensor) -> Tensor:
        """Normalised patches (B, N, P) in which nothing is below the low end of ``value_range``."""
        if self.value_range is None:
            return patches
        lowest = torch.full((1, *self.shape), self.value_range[0], device=patches.device)
        return torch.maximum(patches, self.patchify(self.normalise(lowest)))

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, P); P is ordered (C, h, w) as in a patch-embedding convolution."""
        if tuple(x.shape[1:]) != self.shape:
            raise UserError(f"Modality {self.name!r} expects samples of shape {self.shape}, got {tuple(x.shape[1:])}.")
        height, width = self.padded
        return self.cut(F.pad(x, (0, width - self.shape[2], 0, height - self.shape[1])))

    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, C, H, W), padding cut off."""
        return self.picture(patches)[..., : self.shape[1], : self.shape[2]]

    def picture(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, C, H', W'), with padding."""
        (gh, gw), (h, w) = self.grid, self.patch
        return rearrange(patches, "b (gh gw) (c h w) -> b c (gh h) (gw w)", gh=gh, gw=gw, h=h, w=w)

    def cut(self, picture: Tensor) -> Tensor:
        """Inverse of :meth:`picture`: (B, C, H', W') -> (B, N, P)."""
        h, w = self.patch
        return rearrange(picture, "b c (gh h) (gw w) -> b (gh gw) (c h w)", h=h, w=w)

    def valid(self) -> Tensor:
        """(N, P) float: 1 where a patch element is data, 0 where it is padding."""
        return self.patchify(torch.ones(1, *self.shape))[0]

    @staticmethod
    def _per_channel(statistic: tuple[float, ...], x: Tensor) -> Tensor:
        return torch.tensor(statistic, dtype=torch.float32, device=x.device).view(-1, 1, 1)
