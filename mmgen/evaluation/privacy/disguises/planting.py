"""Disguises that an audit puts on training records itself, to learn what they look like and to say what it can find.

They are what a generative model that learns with augmentation makes of a record that it has memorised. Pictures are
uint8 (C, H, W), sounds float16 log-mels (1, bands, frames); lengths are shares of a side, so that they mean the same
for every size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageOps

Change = Callable[[np.ndarray, float, Generator, np.ndarray], np.ndarray]
"""A record, a strength, random numbers and another record -> the disguised record, of the same shape and type."""


class Disguise(NamedTuple):
    """A kind of disguise: how it is done, its strengths from weak to strong, and these in words."""

    change: Change
    strengths: tuple[float, ...] = (1.0,)
    words: str = ""

    def name(self, kind: str, strength: float) -> str:
        """The kind with its strength for a reader: "shift, 6 %"."""
        return f"{kind}, {self.words.format(strength)}" if self.words else kind


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _image(record: np.ndarray) -> Image.Image:
    return Image.fromarray(record[0] if len(record) == 1 else record.transpose(1, 2, 0))


def _record(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    return values[None].copy() if values.ndim == 2 else values.transpose(2, 0, 1).copy()


def _sign(rng: Generator) -> int:
    return int(rng.choice([-1, 1]))


def _shift(x: np.ndarray, by: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    height, width = x.shape[1:]
    y, x_ = (_sign(rng) * round(by * side * weight) for side, weight in ((height, 1.0), (width, rng.random())))
    top, left = abs(y), abs(x_)
    wide = np.pad(x, ((0, 0), (top, top), (left, left)), mode="edge")
    return wide[:, top - y : top - y + height, left - x_ : left - x_ + width].copy()


def _crop(x: np.ndarray, kept: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    height, width = x.shape[1:]
    h, w = round(kept * height), round(kept * width)
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    part = _image(x[:, top : top + h, left : left + w])
    return _record(part.resize((width, height), Image.Resampling.BICUBIC))


def _shrink(x: np.ndarray, to: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    height, width = x.shape[1:]
    h, w = round(to * height), round(to * width)
    out = np.broadcast_to(_bytes(x.mean((1, 2)))[:, None, None], x.shape).copy()
    top, left = (height - h) // 2, (width - w) // 2
    out[:, top : top + h, left : left + w] = _record(_image(x).resize((w, h), Image.Resampling.BICUBIC))
    return out


def _rotate(x: np.ndarray, degrees: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    return _record(_image(x).rotate(_sign(rng) * degrees, Image.Resampling.BICUBIC))


def _gamma(x: np.ndarray, exponent: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    return _bytes(255 * (x / 255) ** (exponent ** _sign(rng)))


def _hue(x: np.ndarray, turn: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    hsv = np.asarray(_image(x).convert("HSV")).copy()
    hsv[..., 0] += np.uint8(round(256 * turn) % 256)
    return _record(Image.fromarray(hsv, "HSV").convert("RGB"))


def _border(x: np.ndarray, width: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    out, edge = x.copy(), max(1, round(width * x.shape[-1]))
    inner = np.zeros(x.shape[1:], bool)
    inner[edge:-edge, edge:-edge] = True
    out[:, ~inner] = rng.integers(256)
    return out


def _jpeg(x: np.ndarray, quality: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    _image(x).save(buffer, "JPEG", quality=int(quality))
    return _record(Image.open(buffer).convert("L" if len(x) == 1 else "RGB"))


def _mix(x: np.ndarray, share: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    return _bytes(share * x.astype(float) + (1 - share) * other)


PICTURES: Mapping[str, Disguise] = {
    "shift": Disguise(_shift, (0.03, 0.06, 0.12), "{:.0%}"),
    "crop": Disguise(_crop, (0.9, 0.8, 0.7), "to {:.0%}"),
    "smaller": Disguise(_shrink, (0.9, 0.8), "{:.0%}"),
    "quarter turn": Disguise(lambda x, s, rng, other: np.rot90(x, _sign(rng), (1, 2)).copy()),
    "turn": Disguise(_rotate, (5, 10, 15), "{:.0f} degrees"),
    "mirror": Disguise(lambda x, s, rng, other: (x[..., ::-1] if rng.random() < 0.5 else x[:, ::-1]).copy()),
    "inversion": Disguise(lambda x, s, rng, other: 255 - x),
    "gamma": Disguise(_gamma, (1.25, 1.5, 2.0), "{:g}"),
    "brightness": Disguise(
        lambda x, s, rng, other: _bytes(x.astype(float) + s * _sign(rng)), (10, 20, 40), "{:.0f} levels"
    ),
    "equalised": Disguise(lambda x, s, rng, other: _record(ImageOps.equalize(_image(x)))),
    "hue": Disguise(_hue, (0.1, 0.33, 0.5), "{:.0%} of the circle"),
    "border": Disguise(_border, (0.05, 0.1), "{:.0%}"),
    "noise": Disguise(lambda x, s, rng, other: _bytes(x + rng.normal(0, s, x.shape)), (8, 16, 25), "{:.0f} levels"),
    "JPEG": Disguise(_jpeg, (30, 10), "quality {:.0f}"),
    "average of two": Disguise(_mix, (0.7, 0.5), "{:.0%} of one"),
}


def disguises_of(is_picture: bool, channels: int) -> Mapping[str, Disguise]:
    """Those that change records of this form."""
    kinds = PICTURES if is_picture else SOUNDS
    return {kind: disguise for kind, disguise in kinds.items() if kind != "hue" or channels == 3}


def _delay(x: np.ndarray, by: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    frames = max(1, round(by * x.shape[-1])) * _sign(rng)
    out = np.full_like(x, x.min())
    if frames > 0:
        out[..., frames:] = x[..., :-frames]
    else:
        out[..., :frames] = x[..., -frames:]
    return out


def _resampled(x: np.ndarray, axis: int, places: np.ndarray) -> np.ndarray:
    """Values along an axis at other places, which are clamped to the record."""
    places = np.clip(places, 0, x.shape[axis] - 1)
    low = np.floor(places).astype(int)
    high, weight = np.minimum(low + 1, x.shape[axis] - 1), places - low
    shape = [-1 if a == axis % x.ndim else 1 for a in range(x.ndim)]
    one, two = (x.take(index, axis).astype(np.float32) for index in (low, high))
    return (one + (two - one) * weight.reshape(shape)).astype(x.dtype)


def _speed(x: np.ndarray, factor: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    return _resampled(x, 2, np.arange(x.shape[2]) * factor ** _sign(rng))


def _pitch(x: np.ndarray, by: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    return _resampled(x, 1, np.arange(x.shape[1]) + _sign(rng) * by * x.shape[1])


def _filtered(x: np.ndarray, kept: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    bands = np.arange(x.shape[1]) / x.shape[1]
    slope = np.maximum(bands - kept, 0.0) * 40.0  # natural logarithms of power
    return np.maximum(x - slope[None, :, None], x.min()).astype(x.dtype)


def _hiss(x: np.ndarray, below: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    level = float(np.quantile(x, 0.99)) - below * np.log(10) / 10  # dB of power below the loudest parts
    hiss = level + np.log(rng.gamma(4.0, 0.25, x.shape))
    return np.logaddexp(x.astype(np.float32), hiss).astype(x.dtype)


def _together(x: np.ndarray, share: float, rng: Generator, other: np.ndarray) -> np.ndarray:
    parts = x.astype(np.float32) + np.log(share), other.astype(np.float32) + np.log(1 - share)
    return np.logaddexp(*parts).astype(x.dtype)


SOUNDS: Mapping[str, Disguise] = {
    "delay": Disguise(_delay, (0.05, 0.2, 0.5), "{:.0%}"),
    "reversal": Disguise(lambda x, s, rng, other: x[..., ::-1].copy()),
    "speed": Disguise(_speed, (1.01, 1.02), "{:g}"),
    "pitch": Disguise(_pitch, (0.02, 0.04), "{:.0%} of the bands"),
    "filter": Disguise(_filtered, (0.7, 0.4), "above {:.0%} of the bands"),
    "gain": Disguise(lambda x, s, rng, other: (x + _sign(rng) * s).astype(x.dtype), (0.7, 2.0), "{:g}"),
    "noise": Disguise(_hiss, (30, 20), "-{:.0f} dB"),
    "average of two": Disguise(_together, (0.7, 0.5), "{:.0%} of one"),
}
