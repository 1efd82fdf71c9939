"""Disguises by which the search for copies is tried: made otherwise than those that an audit plants itself.

Pictures are uint8 (C, H, W) and changed by Pillow and SciPy; sounds are changed as waveforms (samples,), by librosa,
before they become log-mels. Those of ``ASIDE`` are of kinds that no audit plants.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import librosa
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, signal

PictureChange = Callable[[np.ndarray, Generator, np.ndarray], np.ndarray]
"""A picture, random numbers and another picture -> the disguised picture, of the same shape."""
SoundChange = Callable[[np.ndarray, Generator, np.ndarray, int], np.ndarray]
"""A waveform, random numbers, another waveform and samples a second -> the disguised waveform."""

ASIDE = ("elastic warp, 3 px", "JPEG at quality 10, half size", "vignette and noise", "time stretch, 5 %")


def as_image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0))


def as_picture(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    return values[None].copy() if values.ndim == 2 else values.transpose(2, 0, 1).copy()


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _shifted(x: np.ndarray, rng: Generator, other: np.ndarray) -> np.ndarray:
    steps = [(0, 4), (4, 0), (0, -4), (-4, 0), (4, 4), (-4, 4)][rng.integers(6)]
    return ndimage.shift(x, (0, *steps), order=0, mode="nearest")


def _cropped(x: np.ndarray, rng: Generator, other: np.ndarray) -> np.ndarray:
    image = as_image(x)
    width, height = (round(0.8 * side) for side in image.size)
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    box = int(left), int(top), int(left) + width, int(top) + height
    return as_picture(image.resize(image.size, Image.Resampling.BICUBIC, box))


def _hue(x: np.ndarray, rng: Generator, other: np.ndarray) -> np.ndarray:
    hue, *others = as_image(x).convert("HSV").split()
    turn = int(rng.integers(40, 216))
    turned = hue.point([(value + turn) % 256 for value in range(256)])
    return as_picture(Image.merge("HSV", [turned, *others]).convert("RGB"))


def _bordered(x: np.ndarray, rng: Generator, other: np.ndarray) -> np.ndarray:
    image, width = as_image(x), max(1, round(0.09 * x.shape[-1]))
    grey = int(rng.integers(256))
    return as_picture(ImageOps.expand(ImageOps.crop(image, width), width, (grey,) * len(x) if len(x) > 1 else grey))


def _compressed(x: np.ndarray, size: float) -> np.ndarray:
    image, buffer = as_image(x), io.BytesIO()
    small = image.resize((round(size * image.width), round(size * image.height)), Image.Resampling.BILINEAR)
    small.save(buffer, "JPEG", quality=10)
    opened = Image.open(buffer).convert(image.mode)
    return as_picture(opened.resize(image.size, Image.Resampling.BILINEAR))


def _warped(x: np.ndarray, rng: Generator, other: np.ndarray) -> np.ndarray:
    sides = x.shape[1:]
    fields = [ndimage.gaussian_filter(rng.normal(size=sides), sides[0] / 10) for _ in sides]
    grid = [places + 3 * field / np.abs(field).max() for places, field in zip(np.indices(sides), fields, strict=True)]
    return np.stack([_bytes(ndimage.map_coordinates(part.astype(float), grid, order=1, mode="nearest")) for part in x])


def _vignetted(x: np.ndarray, rng: Generator, other: np.ndarray) -> np.ndarray:
    y, x_ = (2 * np.indices(x.shape[1:]) + 1) / np.array(x.shape[1:])[:, None, None] - 1
    return _bytes(x * (1 - 0.4 * np.minimum(x_**2 + y**2, 1.5)) + rng.normal(0, 8, x.shape))


def _collage(x: np.ndarray, rng: Generator, other: np.ndarray) -> np.ndarray:
    """The middle of the picture as one quarter, parts of another as the other three."""
    height, width = (side // 2 for side in x.shape[1:])
    out = other.copy()
    top, left = rng.integers(2) * height, rng.integers(2) * width
    middle = x[:, height // 2 : height // 2 + height, width // 2 : width // 2 + width]
    out[:, top : top + height, left : left + width] = middle
    return out


PICTURES: Mapping[str, PictureChange] = {
    "shift, 4 px": _shifted,
    "crop to 80 %": _cropped,
    "turn by 90 degrees": lambda x, rng, other: as_picture(as_image(x).transpose(rng.choice([2, 4]))),
    "mirror": lambda x, rng, other: as_picture(ImageOps.mirror(as_image(x))),
    "inversion": lambda x, rng, other: as_picture(ImageOps.invert(as_image(x))),
    "gamma 1.5": lambda x, rng, other: _bytes(255 * (x / 255) ** 1.5),
    "brightness +20": lambda x, rng, other: _bytes(x.astype(float) + 20),
    "equalised": lambda x, rng, other: as_picture(ImageOps.equalize(as_image(x))),
    "another border": _bordered,
    "average of two": lambda x, rng, other: as_picture(Image.blend(as_image(x), as_image(other), 0.5)),
    "another hue": _hue,
    "noise, 15 levels": lambda x, rng, other: _bytes(x + rng.normal(0, 15, x.shape)),
    "JPEG at quality 10": lambda x, rng, other: _compressed(x, 1.0),
    "half the contrast": lambda x, rng, other: as_picture(ImageEnhance.Contrast(as_image(x)).enhance(0.5)),
    "a quarter of a collage": _collage,
    "elastic warp, 3 px": _warped,
    "JPEG at quality 10, half size": lambda x, rng, other: _compressed(x, 0.5),
    "vignette and noise": _vignetted,
}


def _delayed(seconds: float) -> SoundChange:
    return lambda x, rng, other, rate: np.concatenate([np.zeros(round(seconds * rate), x.dtype), x])


def _noisy(x: np.ndarray, rng: Generator, other: np.ndarray, rate: int) -> np.ndarray:
    return x + rng.normal(0, 0.1 * float(np.sqrt(np.mean(x**2))), len(x)).astype(x.dtype)


def _low_passed(x: np.ndarray, rng: Generator, other: np.ndarray, rate: int) -> np.ndarray:
    return signal.sosfilt(signal.butter(4, 2000, fs=rate, output="sos"), x).astype(x.dtype)


def _together(x: np.ndarray, rng: Generator, other: np.ndarray, rate: int) -> np.ndarray:
    out = x.copy()
    out[: len(other)] += other[: len(out)]
    return 0.5 * out


SOUNDS: Mapping[str, SoundChange] = {
    "delay, 50 ms": _delayed(0.05),
    "delay, 500 ms": _delayed(0.5),
    "reversal": lambda x, rng, other, rate: x[::-1].copy(),
    "noise at -20 dB": _noisy,
    "2 % faster": lambda x, rng, other, rate: librosa.resample(x, orig_sr=rate, target_sr=rate / 1.02),
    "a semitone up": lambda x, rng, other, rate: librosa.effects.pitch_shift(x, sr=rate, n_steps=1),
    "low-passed at 2 kHz": _low_passed,
    "8 dB softer": lambda x, rng, other, rate: 0.4 * x,
    "sum of two": _together,
    "time stretch, 5 %": lambda x, rng, other, rate: librosa.effects.time_stretch(x, rate=1.05),
}
