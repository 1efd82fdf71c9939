"""Thousands of broken files go through the decoders: each is decoded or refused with a reason, in bounds."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mutate import FUZZ, mutations

from mmgen.data.images import IMAGE_SUFFIXES

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".webm")
SECONDS = 2.0  # for a file, of one core
MEMORY = 1024  # MiB at most in the whole process, with everything that it imports


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
        write_dicoms(deep, folder)
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


def write_dicoms(pixels: np.ndarray, folder: Path) -> None:
    from dicom_files import compressed, dataset, encoded, jpeg_ls, lossless_jpeg, written
    from pydicom import uid

    window = {"WindowCenter": 2048, "WindowWidth": 3000, "RescaleSlope": 1, "RescaleIntercept": -10}
    data = dataset(pixels, "MONOCHROME1", 12, **window)
    (folder / "raw.dcm").write_bytes(written(data))
    data.compress(uid.RLELossless, generate_instance_uid=False)
    (folder / "run lengths.dcm").write_bytes(written(data))
    frames = {uid.JPEG2000Lossless: encoded(pixels, "JPEG2000", no_jp2=True)}
    if _has("av"):
        frames |= {uid.JPEGLosslessSV1: lossless_jpeg(pixels), uid.JPEGLSLossless: jpeg_ls(pixels)}
    for syntax, frame in frames.items():
        content = compressed(frame, syntax, pixels, "MONOCHROME1", 12, **window)
        (folder / f"{syntax.keyword}.dcm").write_bytes(content)


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


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["image", "sound"])
@pytest.mark.parametrize("count", [200, pytest.param(FUZZ * 3 // 10, marks=pytest.mark.slow)])
def test_no_file_can_do_harm(originals, tmp_path, kind, count):
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


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [100, pytest.param(FUZZ // 10, marks=pytest.mark.slow)])
def test_the_check_names_what_training_cannot_use(originals, tmp_path, count):
    kinds = {"images": IMAGE_SUFFIXES, "audio": frozenset(SOUNDS)}
    for label in ("covid", "healthy"):
        broken = mutations(originals, tmp_path / "broken" / label, count // 2, seed=len(label))
        for folder, suffixes in kinds.items():
            (tmp_path / folder / label).mkdir(parents=True)
            for path in [*originals, *broken]:
                if path.suffix in suffixes:
                    shutil.copy(path, tmp_path / folder / label)
    folders = [argument for folder in kinds for argument in (f"--{folder}", str(tmp_path / folder))]
    command = [sys.executable, __file__, "check", *folders]
    files = [path for folder in kinds for path in (tmp_path / folder).rglob("*.*")]
    start = time.monotonic()
    run = subprocess.run(command, capture_output=True, text=True, timeout=60 + len(files) * SECONDS)
    assert time.monotonic() - start < 30 + len(files) * SECONDS
    lines = run.stdout.splitlines()
    assert lines[-2] == "Training would fail.", run.stderr[-2000:]
    assert float(lines[-1]) <= MEMORY
    named = {line[len("  unusable: ") :].split(" (")[0] for line in lines if line.startswith("  unusable: ")}
    assert named == {str(path) for path in files if not can_be_decoded(path)} != set()


def can_be_decoded(path: Path) -> bool:
    from mmgen.data.audio import decode_sound
    from mmgen.data.audio_settings import AudioSettings
    from mmgen.data.decoded import UnusableFile
    from mmgen.data.images import ImageSettings, decode_image

    try:
        with path.open("rb") as file:
            if path.suffix in SOUNDS:
                decode_sound(file, AudioSettings())
            else:
                decode_image(file, ImageSettings())
    except UnusableFile:
        return False
    return True


def check_all() -> None:
    """``mmgen check`` with this process's arguments, and at last the peak memory in MiB."""
    from mmgen.cli.main import main

    try:
        main()
    except SystemExit as end:
        assert end.code == 1
    print(peak_memory())


def decode_all(kind: str) -> None:
    """Decode the files named on the standard input; a line of JSON on each, and at last the peak memory in MiB."""
    from mmgen.data.decoded import UnusableFile

    if kind == "image":
        from mmgen.data.images import ImageSettings, decode_image

        decode, settings = decode_image, [ImageSettings(64, 1), ImageSettings(64, 3)]
    else:
        from mmgen.data.audio import decode_sound
        from mmgen.data.audio_settings import AudioSettings

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
    check_all() if sys.argv[1] == "check" else decode_all(sys.argv[1])
