"""Image files to arrays: any depth, colour model and size becomes 8-bit grey or RGB of one size."""

from __future__ import annotations

import errno
import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from mmgen.data.decoded import Decoded, Remark, UnusableFile
from mmgen.data.formats.bounded import DECODING, open_picture
from mmgen.data.formats.dicom import is_dicom, read_dicom
from mmgen.errors import UserError, refuse_broken_package

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm", ".dicom"})
_LARGEST_SIDE = 8192
_FULL_SCALES = (255, 4095, 65535)  # 8, 12 and 16 bits
# Decoders may shrink a picture as they decode it, and large pictures are shrunk roughly before they are resized, to no
# less than this many times the final size: three times faster, and at most one grey level off in X-rays.
_MARGIN = 3
_ORIENTATION, _PHOTOMETRIC = 274, 262  # EXIF and TIFF tags
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_TURNS = {  # from how the picture is stored to how it is seen
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The decoders warn of what they can live with. Once for all and not around each call, since warning filters belong to
# the process and files are decoded in threads.
for _decoder in ("PIL", "pydicom"):
    warnings.filterwarnings("ignore", module=rf"{_decoder}\.")


@dataclass(frozen=True)
class ImageSettings:
    """The form of decoded images: squares of ``size`` pixels with 1 (grey) or 3 (RGB) channels.

    Raises:
        UserError: if the size is not 1 to 8192 or the channels are neither 1 nor 3.
    """

    size: int = 224
    channels: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.size, Integral) or not 1 <= self.size <= _LARGEST_SIDE:
            raise UserError(f"The image size must be 1 to {_LARGEST_SIDE} pixels, not {self.size}.")
        if self.channels not in (1, 3):
            raise UserError(f"Images have 1 (grey) or 3 (RGB) channels, not {self.channels}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.size, self.size


def decode_image(file: BinaryIO, settings: ImageSettings) -> Decoded:
    """Decode a picture as uint8 (1, C, H, W), values 0..255, whatever its file is called.

    PNG, JPEG, BMP, TIFF, WebP, GIF and DICOM are read. The camera's orientation tag is applied, an animation gives its
    first frame, transparency is laid on black, a TIFF whose zero is white is inverted. More than 8 bits are brought to
    8 by a full scale, never by the image's own extremes: 65535, but 4095 or 255 where no pixel is brighter (12-bit
    sensors stored in 16 bits), and 1 for floats in 0..1; DICOM says how it is to be displayed
    (:mod:`mmgen.data.formats.dicom`). The shorter side is resized to the settings' size with antialiasing, and the
    centre is kept.

    Takes at most a gigabyte of memory and, on one core, two seconds, whatever the file is made to be.

    Remarks are BLANK for a picture of one single value and BURNT_IN for a DICOM file that declares text in its pixels.

    Raises:
        UnusableFile: if the file is damaged, no picture, or too large to be decoded within these bounds.
    """
    try:
        head = file.read(132)
        remarks = Remark.NONE
        if is_dicom(head):
            image, remarks = read_dicom(file, _MARGIN * settings.size)
        else:
            image = open_picture(file)
            if image.format == "JPEG":
                image.draft("L" if settings.channels == 1 else None, (_MARGIN * settings.size,) * 2)
        with image, DECODING.take(image.width * image.height):
            pixels, blank = _to_size(image, settings)
    except UnusableFile:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        refuse_broken_package(error)
        raise UnusableFile(_reason(error)) from error
    return Decoded(pixels[None], remarks | (Remark.BLANK if blank else Remark.NONE))


def _to_size(image: Image.Image, settings: ImageSettings) -> tuple[np.ndarray, bool]:
    """Pixels uint8 (C, H, W) of the settings' size, and whether the whole picture is of one single value."""
    image.load()  # first, for Pillow takes a picture that could not be loaded once for a black one
    try:
        orientation = 1 if image.format == "TIFF" else image.getexif().get(_ORIENTATION, 1)  # Pillow turns TIFF itself
    except Exception:  # a damaged note beside a picture that may be whole
        orientation = 1
    deep = image.mode == "F" or image.mode.startswith("I")
    if deep:
        whole = image.convert("I") if image.mode == "I;16B" else image  # which cannot be resized
    else:
        whole = _without_transparency(image, settings.channels)
    (width, height), side = whole.size, min(whole.size)
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    gap = None if whole.mode.startswith("I;16") else _MARGIN  # Pillow does not reduce 16 bits
    small = whole.resize((settings.size, settings.size), Image.Resampling.BICUBIC, box, gap)
    if orientation in _TURNS:
        small = small.transpose(_TURNS[orientation])
    pixels = np.asarray(small)
    if deep:
        # Pillow inverts only those TIFF files of 8 bits that are stored as a negative.
        zero_is_white = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0
        low, high = whole.getextrema()
        if not (np.isfinite([low, high]).all() and np.isfinite(pixels).all()):
            raise UnusableFile("some pixels are not finite numbers")
        if low < 0 or high > _FULL_SCALES[-1]:
            raise UnusableFile(f"pixels run from {low:g} to {high:g}, which has no known full scale: save 8 or 16 bits")
        # The smallest usual full scale that holds the whole picture's extremes.
        unit_floats = pixels.dtype.kind == "f" and high <= 1
        full_scale = 1 if unit_floats else next(scale for scale in _FULL_SCALES if high <= scale)
        levels = np.rint(pixels.astype(np.float32) * (255 / full_scale)).clip(0, 255)  # resizing overshoots
        pixels = (255 - levels if zero_is_white else levels).astype(np.uint8)
    # The large picture is looked at only if the small one may come from one value.
    blank = (deep or _single_valued(small)) and _single_valued(whole)
    channels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.broadcast_to(channels, settings.shape).copy(), blank


def _without_transparency(image: Image.Image, channels: int) -> Image.Image:
    """The picture in mode L or RGB, laid on black; L also for three channels where the file is grey."""
    if image.mode not in _MODES:
        raise UnusableFile(f"its colour model {image.mode} is not supported: save it as RGB or grey")
    mode = "L" if channels == 1 or image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    if image.mode not in ("LA", "RGBA"):
        image = image.convert("LA" if image.mode in ("1", "L", "La") else "RGBA")
    flat = Image.new(mode, image.size)
    flat.paste(image, mask=image)
    return flat


def _single_valued(image: Image.Image) -> bool:
    extremes = image.getextrema()
    return all(low == high for low, high in ([extremes] if image.im.bands == 1 else extremes))


def _reason(error: Exception) -> str:
    """The reason of a failure, on one line, without the file's name, which the sentence around it gives."""
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # which is to seek where no file goes
        return error.strerror.lower()
    said = " ".join(str(error).split()).rstrip(".")
    return f"damaged: {said[:150]}" if said and isinstance(error, (OSError, ValueError, SyntaxError)) else "damaged"
