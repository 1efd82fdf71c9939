"""Image files to arrays: any depth, colour model and size becomes 8-bit grey or RGB of one size."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from mmgen.data.manifest import Manifest
from mmgen.data.progress import progress_bar
from mmgen.errors import UserError, first_few

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
# Pillow would also open formats whose readers start other programs.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
_FULL_SCALES = (255, 4095, 65535)  # 8, 12 and 16 bits
_FILES_PER_JOB = 32


@dataclass(frozen=True)
class ImageSettings:
    """What images are turned into: squares of ``size`` pixels with 1 (grey) or 3 (RGB) channels.

    Raises:
        UserError: if the size is not positive or the channels are neither 1 nor 3.
    """

    size: int = 224
    channels: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"The image size must be at least 1 pixel, not {self.size}.")
        if self.channels not in (1, 3):
            raise UserError(f"Images have 1 (grey) or 3 (RGB) channels, not {self.channels}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.size, self.size


def read_image(path: str | os.PathLike[str], settings: ImageSettings) -> np.ndarray:
    """Read one image as uint8 (C, H, W), values 0..255.

    The camera's orientation tag is applied, an animation gives its first frame, transparency is laid on black. More
    than 8 bits are brought to 8 by a full scale, never by the image's own extremes: 65535, but 4095 or 255 where no
    pixel is brighter (12-bit sensors stored in 16 bits), and 1 for floats in 0..1. The shorter side is resized to the
    settings' size with antialiasing, and the centre is kept.

    Raises:
        UserError: if the file is missing, damaged, no image, or too large to be decoded safely.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            upright = ImageOps.exif_transpose(image)
            pixels = _to_8_bit(upright).convert("L" if settings.channels == 1 else "RGB")
        pixels = ImageOps.fit(pixels, (settings.size, settings.size), Image.Resampling.BICUBIC)
    except (
        Exception
    ) as error:  # damaged files make the decoders raise nearly anything: OSError, SyntaxError, struct.error, ...
        raise UserError(
            f"{path} cannot be read as an image ({_reason(error)}); repair it or remove it from the data."
        ) from error
    return np.asarray(pixels).reshape(settings.size, settings.size, settings.channels).transpose(2, 0, 1).copy()


def read_images(
    manifest: Manifest, settings: ImageSettings, workers: int | None = None, progress: bool = True
) -> np.ndarray:
    """Read all images of a manifest as uint8 (n, C, H, W), values 0..255, in the manifest's order.

    Args:
        manifest: The images.
        settings: Their size and channels.
        workers: Number of threads, by default as many as concurrent.futures chooses for the machine.
        progress: Show a progress bar.

    Raises:
        UserError: naming the unreadable files together, after all have been tried.
    """
    images = np.empty((len(manifest), *settings.shape), dtype=np.uint8)

    def read_rows(rows: Iterable[int]) -> list[str | None]:
        """Fill these rows; for each, None or what is wrong with its file."""
        problems: list[str | None] = []
        for row in rows:
            try:
                images[row] = read_image(manifest.name(row), settings)
                problems.append(None)
            except UserError as error:
                problems.append(f"{manifest.paths[row]} ({_reason(error.__cause__ or error)})")
        return problems

    n = len(manifest)
    # Several files a job: the pool queues all jobs at once, and there may be a million files.
    jobs = [range(start, min(start + _FILES_PER_JOB, n)) for start in range(0, n, _FILES_PER_JOB)]
    with ThreadPoolExecutor(workers) as pool:
        results = chain.from_iterable(pool.map(read_rows, jobs))
        results = progress_bar(results, total=n, description="decoding images", quiet=not progress)
        unreadable = [problem for problem in results if problem]
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {n} images in {manifest.files} cannot be read: {first_few(unreadable)}; "
            "repair them or remove them from the data."
        )
    return images


def _to_8_bit(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_scale_to_8_bit(np.asarray(image)))
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, coloured).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _scale_to_8_bit(values: np.ndarray) -> np.ndarray:
    """uint8 from integers or floats of more than 8 bits, by the smallest usual full scale that holds them."""
    unit_floats = values.dtype.kind == "f" and values.max() <= 1
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some pixels are not finite numbers")
    low, high = values.min(), values.max()
    if low < 0 or high > _FULL_SCALES[-1]:
        raise ValueError(f"pixels run from {low:g} to {high:g}, which has no known full scale: save 8 or 16 bits")
    full_scale = 1 if unit_floats else next(scale for scale in _FULL_SCALES if high <= scale)
    return np.rint(values * (255 / full_scale)).astype(np.uint8)


def _reason(error: BaseException) -> str:
    """Short cause of a failure, without the file's name, which the sentence around it gives."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image of a known format"
    return str(error).strip().rstrip(".") or type(error).__name__
