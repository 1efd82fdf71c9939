"""DICOM files made of arrays, and how tests decode them; needs pydicom."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from mmgen.data.decoded import UnusableFile
from mmgen.data.images import ImageSettings, decode_image

GREY, COLOUR = ImageSettings(32, 1), ImageSettings(32, 3)
RAMP = np.tile(np.linspace(0, 1, 32), (32, 1))  # (32, 32), 0 at the left, 1 at the right
RAMP_8_BIT = np.rint(RAMP * 255).astype(np.uint8)
RGB = np.stack([RAMP_8_BIT, RAMP_8_BIT.T, 255 - RAMP_8_BIT], axis=-1)
NAME, NUMBER = "Müstermann^Erika", "PID-4711-X"  # of the patient


def dataset(values: np.ndarray, colours: str = "MONOCHROME2", stored: int | None = None, **tags: object) -> Dataset:
    """A file's tags with pixels (H, W) or (H, W, 3); further tags by name."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = uid.SecondaryCaptureImageStorage, "1.2.3"
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.PatientID, data.PatientBirthDate = NAME, NUMBER, "19560812"
    data.SamplesPerPixel, data.PhotometricInterpretation = (3 if values.ndim == 3 else 1), colours
    if values.ndim == 3:
        data.PlanarConfiguration = 0
    data.Rows, data.Columns = values.shape[:2]
    data.BitsAllocated = 8 * values.itemsize
    data.BitsStored = stored or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    data["PixelData"].VR = "OB" if values.itemsize == 1 else "OW"
    return data


def written(data: Dataset) -> bytes:
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def dicom(values: np.ndarray, *args: object, **tags: object) -> bytes:
    return written(dataset(values, *args, **tags))


def compressed(frame: bytes, syntax: str, values: np.ndarray, *args: object, **tags: object) -> bytes:
    data = dataset(values, *args, **tags)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    return written(data)


def encoded(values: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def lossless_jpeg(values: np.ndarray, length: int = 5) -> bytes:
    """Every value's difference to its left neighbour: a code of ``length`` bits for its number of digits, and these."""
    bits, values = 8 * values.itemsize, values.reshape(*values.shape[:2], -1)
    height, width, channels = values.shape
    left = np.concatenate([np.zeros((height, 1, channels), int), values[:, :-1].astype(int)], axis=1)
    left[1:, 0], left[0, 0] = values[:-1, 0], 1 << bits - 1
    code = []
    for change in (values.astype(int) - left).ravel().tolist():
        digits = abs(change).bit_length()
        code.append(f"{digits:0{length}b}")
        if 0 < digits < 16:
            code.append(f"{change if change > 0 else change + (1 << digits) - 1:0{digits}b}")
    text = "".join(code)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    counts = [17 if n == length else 0 for n in range(1, 17)]
    segments = (
        (b"\xc4", bytes([0, *counts, *range(17)])),
        (
            b"\xc3",
            struct.pack(">BHHB", bits, height, width, channels) + b"".join(bytes([n, 17, 0]) for n in range(channels)),
        ),
        (b"\xda", bytes([channels, *(byte for n in range(channels) for byte in (n, 0)), 1, 0, 0])),
    )
    head = b"".join(b"\xff" + kind + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def jpeg_ls(pixels: np.ndarray) -> bytes:
    """Of 16 bits; needs PyAV."""
    import av

    encoder = av.CodecContext.create("jpegls", "w")
    encoder.height, encoder.width = pixels.shape
    encoder.pix_fmt, encoder.time_base = "gray16le", Fraction(1)
    picture = av.VideoFrame.from_ndarray(pixels, "gray16le")
    return b"".join(map(bytes, [*encoder.encode(picture), *encoder.encode(None)]))


def decode(content: bytes, settings: ImageSettings = GREY) -> np.ndarray:
    """(H, W), or (H, W, 3) of colour."""
    values = decode_image(io.BytesIO(content), settings).values[0]
    return values[0] if settings.channels == 1 else values.transpose(1, 2, 0)


def refusal(content: bytes) -> str:
    with pytest.raises(UnusableFile) as error:
        decode_image(io.BytesIO(content), GREY)
    return str(error.value)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())
