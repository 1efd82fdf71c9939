"""Thousands of broken files go through the decoders: each is decoded or refused with a reason, in bounds."""

from __future__ import annotations

import io
import json
import re
import resource
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".webm")
SECONDS = 2.0  # for a file, of one core
MEMORY = 1024  # MiB at most in the whole process, with everything that it imports


def dicom(pixels: np.ndarray, path: Path, syntax: str = "1.2.840.10008.1.2.1", compressed: bytes = b"") -> None:
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID, data.SOPInstanceUID = uid.SecondaryCaptureImageStorage, uid.generate_uid(entropy_srcs=["x"])
    data.PatientName = "Doe^Jane"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME1"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.WindowCenter, data.WindowWidth, data.RescaleSlope, data.RescaleIntercept = 2048, 3000, 1, -10
    data.PixelData = encapsulate([compressed]) if compressed else pixels.tobytes()
    data["PixelData"].VR = "OB" if compressed else "OW"
    if syntax == uid.RLELossless:
        data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        data.compress(uid.RLELossless)
    data.save_as(path, enforce_file_format=True)


def jpeg_ls(pixels: np.ndarray) -> bytes:
    import av

    encoder = av.CodecContext.create("jpegls", "w")
    encoder.height, encoder.width = pixels.shape
    encoder.pix_fmt, encoder.time_base = "gray16le", Fraction(1)
    picture = av.VideoFrame.from_ndarray(pixels, "gray16le")
    return b"".join(map(bytes, [*encoder.encode(picture), *encoder.encode(None)]))


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[Path]:
    """A whole file of every kind that is read."""
    import soundfile
    from PIL import Image

    from mmgen.data.phantoms import SAMPLE_RATE, phantom_cough, phantom_xray

    folder = tmp_path_factory.mktemp("Röntgen bilder")
    rng = np.random.default_rng(0)
    values = phantom_xray(0, rng, 96)
    grey, deep = Image.fromarray(values), values.astype(np.uint16) << 4
    colour = Image.merge("RGB", [grey, grey.rotate(90), grey.rotate(180)])
    grey.save(folder / "grey.png")
    colour.quantize(64).save(folder / "palette.png", transparency=3)
    Image.fromarray(deep).save(folder / "deep.png")
    grey.save(folder / "grey.jpg")
    colour.save(folder / "progressive.jpeg", progressive=True)
    Image.fromarray(deep).save(folder / "deep.tif")
    colour.save(folder / "lzw.tif", compression="tiff_lzw")
    colour.save(folder / "jpeg.tiff", compression="jpeg")
    grey.save(folder / "zip.tif", compression="tiff_adobe_deflate")
    grey.save(folder / "grey.gif")
    colour.save(folder / "lossy.webp")
    colour.save(folder / "exact.webp", lossless=True)
    colour.save(folder / "colour.bmp")
    if _has("pydicom"):
        codestream = io.BytesIO()
        Image.fromarray(deep).save(codestream, "JPEG2000", no_jp2=True)
        dicom(deep, folder / "raw.dcm")
        dicom(deep, folder / "run lengths.dcm", "1.2.840.10008.1.2.5")
        dicom(deep, folder / "jpeg2000.dcm", "1.2.840.10008.1.2.4.90", codestream.getvalue())
    if _has("pydicom") and _has("av"):
        dicom(deep, folder / "jpegls.dcm", "1.2.840.10008.1.2.4.80", jpeg_ls(deep))
    wave = phantom_cough(0, rng, SAMPLE_RATE)
    soundfile.write(folder / "a.wav", wave, SAMPLE_RATE, "PCM_16")
    soundfile.write(folder / "float stereo.wav", np.stack([wave, -wave], 1), 44_100, "FLOAT")
    soundfile.write(folder / "a.flac", wave, SAMPLE_RATE)
    soundfile.write(folder / "a.ogg", wave, SAMPLE_RATE)
    soundfile.write(folder / "opus.ogg", wave, SAMPLE_RATE, "OPUS")
    soundfile.write(folder / "a.mp3", wave, SAMPLE_RATE)
    if _has("av"):
        webm(wave, folder / "a.webm")
    return sorted(folder.iterdir())


def webm(wave: np.ndarray, path: Path) -> None:
    import av

    with av.open(str(path), "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        for start in range(0, len(wave) - 960, 960):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 960].copy(), "flt", "mono")
            frame.rate = 48_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


@pytest.mark.parametrize("kind", ["image", "sound"])
@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_file_can_do_harm(originals, tmp_path, kind, count):
    from mutate import mutations  # not at the top, for this file is also run as a script

    paths = [*originals, *mutations(originals, tmp_path / "broken", count, seed=20)]
    run = subprocess.run(
        [sys.executable, __file__, kind],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        timeout=60 + count * SECONDS,
    )
    results = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(results) == len(paths) + 1, f"ended at {paths[len(results)]}: {run.stderr[-2000:]}"
    assert ".py" not in run.stderr, "only the decoders' own libraries write there, no traceback and no Python warning"
    *files, peak = results
    assert [file for file in files if not file["in order"]] == []
    assert [file for file in files if file["seconds"] > SECONDS] == []
    assert peak <= MEMORY, f"{peak:.0f} MiB"
    wholes = {Path(file["path"]): file["reason"] for file in files[: len(originals)]}
    decoded = [path for path, reason in wholes.items() if reason is None]
    assert decoded == [path for path in originals if (path.suffix in SOUNDS) == (kind == "sound")]


def decode_all(kind: str) -> None:
    """Decode the files named on the standard input; a line of JSON on each, and at last the peak memory in MiB."""
    from mmgen.data.decoded import UnusableFile

    if kind == "image":
        from mmgen.data.images import ImageSettings, decode_image

        decode, settings = decode_image, [ImageSettings(64, 1), ImageSettings(64, 3)]
    else:
        from mmgen.data.audio import AudioSettings, decode_sound

        decode, settings = decode_sound, [AudioSettings()]
    for number, path in enumerate(sys.stdin.read().splitlines()):
        start = time.process_time()
        try:
            with open(path, "rb") as file:
                decoded = decode(file, settings[number % len(settings)])
            reason, in_order = None, len(decoded.values) >= 1 and decoded.values.dtype.kind in "uf"
        except UnusableFile as error:
            reason = str(error)
            in_order = bool(reason.strip()) and "\n" not in reason and path not in reason
        except BaseException as error:
            reason, in_order = repr(error), False
        seconds = time.process_time() - start
        print(json.dumps({"path": path, "seconds": seconds, "reason": reason, "in order": in_order}), flush=True)
    print(peak_memory())


def peak_memory() -> float:
    """MiB; on Linux not by getrusage, to which the peak of the process that started this one counts."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    decode_all(sys.argv[1])
