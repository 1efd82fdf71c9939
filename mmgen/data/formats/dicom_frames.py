"""The first frame of a DICOM file as it is stored, from each of the compressions that DICOM knows for pictures.

Codes are the stored bits: uint8 or uint16 (H, W), two's complement where values are signed. Colours are decoded to RGB
uint8 (H, W, 3) at once.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, Jpeg2KImagePlugin

from mmgen.data.decoded import UnusableFile
from mmgen.data.formats.bounded import Metered, check_size, jpeg_segments, open_jpeg

if TYPE_CHECKING:
    from pydicom.uid import UID

DAMAGED = "damaged DICOM file"
RGB = ("RGB", "YBR_ICT", "YBR_RCT")  # JPEG 2000's transformations are undone by its decoder
YBR = ("YBR_FULL", "YBR_FULL_422")
_MAX_LOSSLESS_PIXELS = 30_000_000
_MAX_SEGMENTS = 1000  # of a JPEG before its size
# What JPEG 2000's slow decoder is given after halving: pixels, and bytes of which each halving leaves a quarter.
_MAX_JPEG2000_PIXELS, _MAX_JPEG2000_BYTES = 7_000_000, 12_000_000


@dataclass(frozen=True)
class Layout:
    """How the pixels are stored; ``start`` is where they begin in the file."""

    syntax: UID
    start: int
    vr: str
    rows: int
    columns: int
    samples: int
    colours: str
    planar: int
    allocated: int
    stored: int
    signed: bool
    frames: int


def first_frame(file: BinaryIO, layout: Layout, side: int) -> np.ndarray:
    """Codes or RGB (see above), smaller than stored where a decoder can shrink, but no side below ``side``.

    Raises:
        UnusableFile: if the frame is too large or needs a decoder that is missing. Damaged ones raise nearly anything.
    """
    from pydicom import uid

    if not layout.syntax.is_encapsulated:
        return _uncompressed(file, layout)
    if layout.syntax == uid.RLELossless:
        check_size(layout.columns, layout.rows, limit=_MAX_LOSSLESS_PIXELS)
        return _run_lengths(_compressed(file, layout), layout)
    if layout.syntax in (uid.JPEG2000Lossless, uid.JPEG2000):
        return _jpeg2000(_compressed(file, layout), layout, side)
    if layout.syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        return _jpeg(_compressed(file, layout), layout, side)
    if layout.syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless):
        return _lossless_jpeg(_compressed(file, layout), layout)
    raise UnusableFile(f"it is compressed as {layout.syntax.name}, which cannot be read: save it uncompressed")


def _compressed(file: BinaryIO, layout: Layout) -> bytes:
    from pydicom.encaps import get_frame

    file.seek(layout.start)
    return get_frame(Metered(file), 0, number_of_frames=layout.frames)


def _jpeg(frame: bytes, layout: Layout, side: int) -> np.ndarray:
    if _jpeg_shape(frame)[-1] != 8:
        raise UnusableFile("it is compressed as 12-bit JPEG, which cannot be read: save it uncompressed")
    image = open_jpeg(frame)
    ids = bytes(layer[0] for layer in image.layer)
    if layout.samples == 1:
        image.draft("L", (side, side))
        return np.asarray(image.convert("L"))
    if layout.colours == "RGB" and not {"adobe_transform", "jfif"} & set(image.info) and ids.upper() != b"RGB":
        # JPEG alone would be taken for YCbCr. Asking for that leaves the values as they are.
        image.draft("YCbCr", (side, side))
        return np.asarray(image)
    image.draft(None, (side, side))
    return np.asarray(image.convert("RGB"))


def _jpeg_shape(frame: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, samples and bits that a JPEG declares by itself."""
    for kind, start, _ in islice(jpeg_segments(frame), _MAX_SEGMENTS):
        if kind == 0xF7 or (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)):  # starts of a picture
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, start)
            return rows, columns, samples, bits
    raise UnusableFile(DAMAGED)


def _jpeg2000(frame: bytes, layout: Layout, side: int) -> np.ndarray:
    from pydicom.pixels.utils import get_j2k_parameters

    image: Any = Jpeg2KImagePlugin.Jpeg2KImageFile(Metered(io.BytesIO(frame)))
    check_size(*image.size)
    # A picture is halved as it is decoded as often as ``side`` allows, or as time demands.
    levels = frame[frame.index(b"\xff\x52") + 9]  # of resolution, in the coding style
    cost = max(math.prod(image.size) / _MAX_JPEG2000_PIXELS, len(frame) / _MAX_JPEG2000_BYTES)
    least = max(0, math.ceil(math.log(cost, 4)))
    most = min(levels, max(least, int(math.log2(max(1, min(image.size) / side)))))
    for halvings in range(most, least - 1, -1):
        # Pillow rounds sizes where JPEG 2000 rounds them up, and fails where that differs.
        if all((n + (1 << halvings >> 1)) >> halvings == -(-n >> halvings) for n in image.size):
            break
    else:
        raise UnusableFile("it is a JPEG 2000 picture that takes too long to decode: save it uncompressed")
    image.reduce = halvings
    image.load()
    if layout.samples == 3:
        return np.asarray(image.convert("RGB"))
    about, codes = get_j2k_parameters(frame), np.asarray(image)
    bits = about["precision"]
    if image.mode not in ("L", "I;16") or bits > 8 * codes.itemsize:
        raise UnusableFile(DAMAGED)
    codes = codes >> 8 * codes.itemsize - bits  # Pillow stretches to 8 or 16 bits
    if about["is_signed"]:
        codes ^= 1 << bits - 1  # and makes signed values unsigned
    if layout.signed and bits < layout.stored:
        codes = codes.astype(np.uint16)
        codes[codes >> bits - 1 != 0] |= (1 << 16) - (1 << bits)
    return codes & (1 << layout.stored) - 1


def _lossless_jpeg(frame: bytes, layout: Layout) -> np.ndarray:
    """By ffmpeg, which bears broken files; GDCM, which pydicom would take, writes beyond its memory on some."""
    from pydicom.uid import JPEGLSTransferSyntaxes

    try:
        import av
    except ModuleNotFoundError:
        name = layout.syntax.name
        raise UnusableFile(f"it is compressed as {name}, which needs PyAV: pip install 'mmgen[dicom]'") from None
    rows, columns, samples, bits = _jpeg_shape(frame)
    check_size(columns, rows, samples * math.ceil(bits / 8), _MAX_LOSSLESS_PIXELS)
    codec = "jpegls" if layout.syntax in JPEGLSTransferSyntaxes else "mjpeg"
    if samples != layout.samples:
        raise UnusableFile(DAMAGED)
    if samples == 3 and (codec == "jpegls" or bits > 8):
        raise UnusableFile(f"it is compressed as {layout.syntax.name} in colour: save it uncompressed")
    decoder = av.CodecContext.create(codec, "r")
    decoder.thread_count, decoder.options = 1, {"err_detect": "explode"}  # rather no picture than half of one
    if bits == 16 and codec == "mjpeg" and samples == 1:
        frame = _spell_out_first_difference(frame)
    [picture] = [*decoder.decode(av.Packet(frame)), *decoder.decode(None)]
    codes = picture.to_ndarray()
    if samples == 1:
        return codes & (1 << layout.stored) - 1
    return _rgb(codes[..., ::-1], bits, layout.colours)  # ffmpeg gives the last component first


def _spell_out_first_difference(frame: bytes) -> bytes:
    """A 16-bit lossless JPEG as ffmpeg reads it where its first pixel is black, as it is at the edge of many X-rays.

    Pixels are differences, the first one's to 32768. The code of the difference 32768, alone of all, is followed by no
    digits, but ffmpeg reads sixteen: they are put in. Two bytes more leave all other codes where they are in theirs.
    """
    code, scan = _code_of_largest_difference(frame)
    length = -(-len(code) // 8)  # in bytes
    first = frame[scan : scan + 2 * length].replace(b"\xff\0", b"\xff")[:length]  # zeros after FF mean nothing
    bits = "".join(f"{byte:08b}" for byte in first)
    if not code or not bits.startswith(code):
        return frame
    bits = code + f"{1 << 15:016b}" + bits[len(code) :]
    spelt_out = int(bits, 2).to_bytes(length + 2, "big").replace(b"\xff", b"\xff\0")
    return frame[:scan] + spelt_out + frame[scan + len(first.replace(b"\xff", b"\xff\0")) :]


def _code_of_largest_difference(frame: bytes) -> tuple[str, int]:
    """The bits that stand for 16 in a lossless JPEG, none if nothing does, and where its pixels begin."""
    tables = {}
    for kind, start, end in islice(jpeg_segments(frame), _MAX_SEGMENTS):
        while kind == 0xC4 and start < end:  # how many codes there are of each length, then what they stand for
            counts = frame[start + 1 : start + 17]
            symbols = frame[start + 17 : start + 17 + sum(counts)]
            tables[frame[start]] = counts, symbols
            start += 17 + len(symbols)
        if kind == 0xDA:
            counts, symbols = tables[frame[start + 2] >> 4]
            value = place = 0
            for length, count in enumerate(counts, 1):
                found = symbols.find(16, place, place + count)
                if found >= 0:
                    return f"{value + found - place:0{length}b}", end
                value, place = (value + count) << 1, place + count
            return "", end
    raise UnusableFile(DAMAGED)


def _uncompressed(file: BinaryIO, layout: Layout) -> np.ndarray:
    from pydicom.pixels import get_decoder

    wanted = math.ceil(layout.rows * layout.columns * layout.samples * layout.allocated / 8)
    if layout.colours == "YBR_FULL_422":
        wanted = wanted // 3 * 2
    if file.seek(0, io.SEEK_END) - layout.start < wanted:
        raise UnusableFile("its pixel data are cut off")
    file.seek(layout.start)
    codes, about = get_decoder(layout.syntax).as_array(
        Metered(file),
        index=0,
        raw=True,
        rows=layout.rows,
        columns=layout.columns,
        samples_per_pixel=layout.samples,
        planar_configuration=layout.planar,
        photometric_interpretation=layout.colours,
        bits_allocated=layout.allocated,
        bits_stored=layout.stored,
        pixel_representation=int(layout.signed),
        number_of_frames=layout.frames,
        pixel_keyword="PixelData",
        pixel_vr=layout.vr,
    )
    codes = codes.astype(f"u{codes.itemsize}", copy=False) & (1 << layout.stored) - 1
    return codes if layout.samples == 1 else _rgb(codes, layout.stored, about["photometric_interpretation"])


def _run_lengths(frame: bytes, layout: Layout) -> np.ndarray:
    """Every byte of every sample is a plane of its own."""
    size = layout.allocated // 8
    planes, *starts = struct.unpack_from("<16L", frame)
    if planes != layout.samples * size:
        raise UnusableFile(DAMAGED)
    ends = [*starts[1:planes], len(frame)]
    shape = layout.rows, layout.columns, layout.samples
    codes = np.empty((math.prod(shape[:2]), layout.samples, size), np.uint8)
    for plane, (start, end) in enumerate(zip(starts, ends, strict=False)):
        # As a picture of one line, because some writers' runs go across the lines.
        line = Image.frombytes("L", (len(codes), 1), frame[start:end], "packbits", "L")
        codes[:, plane // size, size - 1 - plane % size] = np.asarray(line)[0]
    codes = codes.view(f"<u{size}").reshape(shape) & (1 << layout.stored) - 1
    return codes[..., 0] if layout.samples == 1 else _rgb(codes, layout.stored, layout.colours)


def _rgb(codes: np.ndarray, bits: int, colours: str) -> np.ndarray:
    if bits > 8:
        codes = codes >> bits - 8
    codes = codes.astype(np.uint8, copy=False)
    return codes if colours in RGB else np.asarray(Image.fromarray(codes, "YCbCr").convert("RGB"))
