from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mmgen.data.decoded import UnusableFile
from mmgen.data.formats.sound_files import Sound, read_sound
from mmgen.data.phantoms import phantom_cough

RATE = 16_000


def sine(seconds: float = 1.0, rate: int = RATE, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(wave: np.ndarray, rate: int = RATE, **options: Any) -> bytes:
    """A file of soundfile's; WAV of 16 bits if ``options`` say nothing else."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate, **{"format": "WAV", **options})
    return file.getvalue()


def wav(
    samples: bytes,
    size: int | None = None,
    rate: int = RATE,
    channels: int = 1,
    whole: int | None = None,
    kind: tuple[int, int] = (1, 16),
) -> bytes:
    """A WAV file whose header says what one likes; ``kind`` is the format's number and the bits of a sample."""
    number, bits = kind
    width = bits // 8 * channels
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, number, channels, rate, rate * width % 2**32, width, bits)
    body = b"WAVE" + header + b"data" + struct.pack("<I", len(samples) if size is None else size) + samples
    return b"RIFF" + struct.pack("<I", len(body) if whole is None else whole) + body


def samples_of(wave: np.ndarray) -> bytes:
    return (wave * 32767).astype("<i2").tobytes()


def ffmpeg(wave: np.ndarray, rate: int, container: str, codec: str, **options: str) -> bytes:
    """A file of ffmpeg's; (samples,) or (channels, samples) of one or two channels."""
    av = pytest.importorskip("av")
    file, wave = io.BytesIO(), np.atleast_2d(wave)
    layout = "mono" if len(wave) == 1 else "stereo"
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 96_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return file.getvalue()


def read(content: bytes, seconds: float | None = None) -> Sound:
    return read_sound(io.BytesIO(content), seconds)


def complaint(content: bytes, seconds: float | None = 4.0) -> str:
    """Why content cannot be used; always told within two seconds (of computing: machines may be busy)."""
    start = time.thread_time()
    with pytest.raises(UnusableFile) as error:
        read(content, seconds)
    assert time.thread_time() - start < 2.0
    assert "\n" not in str(error.value) and not str(error.value).endswith(".")
    return str(error.value)


# -- formats


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"format": "WAV", "subtype": "PCM_24"}, 1e-4),
        ({"format": "WAV", "subtype": "FLOAT"}, 1e-6),
        ({"format": "WAV", "subtype": "ULAW"}, 0.03),
        ({"format": "WAVEX"}, 1e-4),
        ({"format": "RF64"}, 1e-4),
        ({"format": "FLAC"}, 1e-4),
        ({"format": "AIFF"}, 1e-4),
        ({"format": "AU"}, 1e-4),
        ({"format": "OGG", "subtype": "VORBIS"}, 0.05),
        ({"format": "OGG", "subtype": "OPUS"}, 0.05),
    ],
)
def test_content_decides_the_format(tmp_path: Path, options, tolerance):
    content = encoded(sine(), **options)
    path = tmp_path / "Aufnahme 咳 1.wav"
    path.write_bytes(content)
    with open(path, "rb") as file:
        from_file = read_sound(file)
        assert file.read(4) == content[:4]  # left where it was
    from_memory = read(content)
    assert from_file.rate == from_memory.rate and np.array_equal(from_file.mono, from_memory.mono)
    if options.get("subtype") != "OPUS":  # which is stored at 48 kHz
        assert from_file.rate == RATE
        np.testing.assert_allclose(from_file.mono, sine(), atol=tolerance)


@pytest.mark.parametrize("name", ["a.wav", "a.raw", "a.mp3"])
def test_a_name_that_lies_is_not_believed(name):
    file = io.BytesIO(encoded(sine(), format="FLAC"))
    file.name = name
    assert len(read_sound(file).mono) == RATE


class Unreliable(io.BytesIO):
    """Fails after some reading, as a connection may."""

    left = 20_000

    def read(self, count: int | None = -1) -> bytes:
        data = super().read(count)
        self.left -= len(data)
        if self.left < 0:
            raise ConnectionResetError(104, "Connection reset by peer")
        return data


@pytest.mark.parametrize("options", [{"format": "WAV"}, {"format": "OGG"}])
def test_a_connection_that_breaks_is_no_end_of_the_file(options, capfd):
    with pytest.raises(UnusableFile, match="connection reset by peer"):
        read_sound(Unreliable(encoded(np.random.default_rng(0).normal(scale=0.1, size=4 * RATE), **options)))
    assert capfd.readouterr() == ("", "")


def test_mp3_is_read():
    sound = read(encoded(sine(2.0, 44_100), 44_100, format="MP3"))
    assert sound.rate == 44_100
    assert abs(len(sound.mono) - 88_200) < 3000


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [("webm", "libopus", {}), ("webm", "libopus", {"live": "1"}), ("ipod", "aac", {})],
)
def test_webm_and_m4a_begin_where_the_sound_begins(container, codec, options, capfd):
    """Encoders put 6 to 40 ms before it, which players leave out. ``live`` is what browsers record: no duration."""
    wave = phantom_cough(0, np.random.default_rng(0), 48_000)
    content = ffmpeg(wave, 48_000, container, codec, **options)
    sound = read(content)
    assert sound.rate == 48_000
    assert 0 <= len(sound.mono) - len(wave) < 1024
    both = (np.fft.rfft(x[: len(wave)], 2 * len(wave)) for x in (sound.mono, wave))
    correlation = np.fft.irfft(next(both) * next(both).conj())
    assert correlation.argmax() == 0
    assert abs(correlation[0] / np.sum(wave**2) - 1) < 0.1
    assert capfd.readouterr() == ("", "")


def test_of_webm_no_more_is_decoded_than_asked_for():
    content = ffmpeg(sine(60.0, 48_000), 48_000, "webm", "libopus")
    assert len(read(content, 0.5).mono) == 24_000
    assert len(read(content[: len(content) // 4], 0.5).mono) == 24_000


def test_channels_are_averaged():
    waves = [sine(0.2, 48_000, 300), sine(0.2, 48_000, 500)]
    np.testing.assert_allclose(
        read(encoded(np.stack(waves, axis=1), 48_000, subtype="FLOAT")).mono, np.mean(waves, axis=0), atol=1e-6
    )
    stereo = read(ffmpeg(np.stack(waves), 48_000, "webm", "libopus"))
    np.testing.assert_allclose(stereo.mono[2000:9000], np.mean(waves, axis=0)[2000:9000], atol=0.05)
    surround = np.stack([sine(0.2, hertz=100 * (i + 1)) for i in range(6)], axis=1)
    np.testing.assert_allclose(read(encoded(surround, subtype="FLOAT")).mono, surround.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(("format_name", "magic"), [("webm", b"\x1a\x45\xdf\xa3"), ("m4a", b"\0\0\0\x20ftypM4A ")])
def test_without_pyav_the_extra_is_named(monkeypatch, format_name, magic):
    monkeypatch.setitem(sys.modules, "av", None)
    assert complaint(magic + bytes(100)) == f"{format_name} needs PyAV: pip install 'mmgen[webm]'"


# -- bounds


def test_no_more_is_read_than_asked_for():
    content = encoded(np.zeros(600 * 8000, np.int16), 8000)
    start = time.thread_time()
    assert len(read(content, 4.0).mono) == 32_000
    assert time.thread_time() - start < 0.1
    assert len(read(content).mono) == 600 * 8000
    assert len(read(encoded(sine(0.05)), 4.0).mono) == 800


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (wav(bytes(32_000), rate=0), "impossible sampling rate"),
        (wav(bytes(32_000), rate=10), "sampling rate is said to be 10 Hz"),
        (wav(bytes(32_000), rate=2_000_000_000), "sampling rate is said to be 2000000000 Hz"),
        (wav(bytes(32_000), channels=1000), "1000 channels, not 1 to 32"),
        (wav(bytes(32_000), channels=33), "33 channels, not 1 to 32"),
        (wav(bytes(32_000), channels=0), "channel"),
    ],
)
def test_impossible_headers_are_refused(content, said):
    assert said in complaint(content)


def peak_kilobytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system does not tell memory")
    return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))


def test_memory_follows_what_is_there_not_what_a_header_says():
    flac = bytearray(encoded(sine(), format="FLAC"))
    flac[21] |= 0x0F  # 2^36 - 1 samples
    flac[22:26] = b"\xff" * 4
    lies = [bytes(flac), wav(bytes(32_000), size=2**32 - 2), wav(bytes(64_000), size=2**31 - 2, channels=32)]
    complaint(lies[0])  # imports
    before = peak_kilobytes()
    for content in lies:
        assert "header promises" in complaint(content, None)
    assert peak_kilobytes() - before < 50_000


NOISE = np.random.default_rng(0).integers(0, 256, 20_000_000, dtype=np.uint8).tobytes()
HOSTILE: dict[str, Callable[[], bytes]] = {
    "many parts": lambda: wav(b"")[:12] + b"JUNK\0\0\0\0" * 3_000_000,
    "many free boxes": lambda: b"\0\0\0\x14ftypM4A \0\0\0\0isom" + b"\0\0\0\x08free" * 3_000_000,
    "noise after an mp3 header": lambda: b"\xff\xfb\x90\x00" + NOISE,
    "noise after a flac header": lambda: b"fLaC\x00\x00\x00\x22" + NOISE,
    "noise after an ogg header": lambda: b"OggS" + NOISE,
    "noise after a webm header": lambda: b"\x1a\x45\xdf\xa3" + NOISE,
    "noise": lambda: NOISE,
    "zeros": lambda: bytes(20_000_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_keep_careless_readers_busy(name):
    said = complaint(HOSTILE[name]())
    assert name != "many parts" or "very many parts" in said


# -- headers and sizes


PCM = samples_of(sine(5.0))


@pytest.mark.parametrize(
    "content",
    [
        wav(PCM, size=0, whole=36),
        wav(PCM, size=0, whole=0),
        wav(PCM, size=0xFFFFFFFF, whole=0xFFFFFFFF),
        wav(PCM, size=0xFFFFFFFF),
        wav(PCM, size=0x7FFFF000, whole=0x7FFFF024),
        wav(PCM, size=len(PCM) + 44),  # a writer that counted its header
    ],
)
def test_sizes_that_were_not_known_are_no_lies(content, tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(content)
    with open(path, "rb") as file:
        from_file = read_sound(file).mono
    assert np.array_equal(from_file, read(content).mono)
    np.testing.assert_allclose(from_file, sine(5.0), atol=1e-4)


def cut(options: dict[str, str], share: float) -> bytes:
    content = encoded(sine(5.0), **options)
    return content[: round(len(content) * share)]


@pytest.mark.parametrize("seconds", [1.0, 4.0, None])
def test_a_wav_that_holds_less_than_it_promises_is_refused(seconds):
    said = "its header promises 5.0 s of sound, the file holds 2.1 s"
    assert complaint(wav(PCM[: round(2.1 * RATE) * 2], size=len(PCM)), seconds) == said


@pytest.mark.parametrize("format_name", ["WAVEX", "RF64", "AIFF", "AU"])
def test_so_are_its_kin(format_name):
    said = complaint(cut({"format": format_name}, 0.42))
    assert said == "its header promises 5.0 s of sound, the file holds 2.1 s"


@pytest.mark.parametrize("format_name", ["FLAC", "MP3"])
def test_other_cut_files_are_refused_where_sound_is_missing_that_is_wanted(format_name, capfd):
    content = cut({"format": format_name}, 0.42)
    assert any(said in complaint(content) for said in ("header promises 5.0 s", "damaged"))
    assert len(read(content, 1.0).mono) == RATE


def test_the_length_of_an_mp3_that_does_not_tell_it_is_no_promise():
    """libsndfile takes this one for about twice as long, from the bit rate of its quiet beginning."""
    noise = np.random.default_rng(0).normal(scale=0.3, size=44_100)
    wave = np.concatenate([np.zeros(44_100), noise])
    content = encoded(wave, 44_100, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3)
    second_frame = content.index(content[:2], 4)
    assert b"Xing" in content[:second_frame]
    for untold in (content[second_frame:], b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + content[second_frame:]):
        assert abs(len(read(untold, 4.0).mono) - len(wave)) < 4000


def test_cut_webm_and_m4a_are_refused():
    wave = sine(3.0, 48_000)
    webm, m4a = (ffmpeg(wave, 48_000, *kind) for kind in (("webm", "libopus"), ("ipod", "aac")))
    assert "header promises 3.0 s of sound, the file holds 1." in complaint(webm[: len(webm) // 2])
    assert "damaged" in complaint(m4a[: len(m4a) // 2])
    assert "damaged" in complaint(webm[:100])


def test_a_flac_of_unknown_length_is_read():
    content = bytearray(encoded(sine(2.0), format="FLAC"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert len(read(bytes(content)).mono) == 2 * RATE


# -- content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no sound format"),
        (b"this is no sound" * 20, "no sound format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no sound format"),
        (encoded(sine(), format="FLAC")[:20], "damaged"),
        (wav(b""), "it holds no samples"),
        (wav(b"", size=32_000), "it holds no samples"),
    ],
)
def test_what_is_no_sound_is_refused(content, said):
    assert said in complaint(content)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_not_numbers_are_refused(value):
    wave = sine().astype("<f4")
    wave[RATE // 2] = value
    assert complaint(wav(wave.tobytes(), kind=(3, 32))) == "it holds samples that are not numbers"
    assert len(read(wav(wave.tobytes(), kind=(3, 32)), 0.25).mono) == RATE // 4
    stereo = np.stack([sine(), wave], axis=1)
    assert "not numbers" in complaint(wav(stereo.astype("<f4").tobytes(), channels=2, kind=(3, 32)))


def clipped(wave: np.ndarray, rate: int = RATE, encode: Callable[[np.ndarray, int], bytes] = encoded) -> float:
    return read(encode(np.clip(wave, -1, 1), rate)).clipped


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_clipping_is_seen_and_a_clean_loud_wave_is_not_taken_for_it(rate):
    cough = phantom_cough(1, np.random.default_rng(3), rate)
    cough /= np.abs(cough).max()
    assert clipped(cough, rate) < 0.001
    assert clipped(3 * cough, rate) > 0.5 * np.mean(np.abs(3 * cough) > 1) > 0.001
    for hertz in (50, 100, 440, 1000, 3000):
        assert clipped(sine(1.0, rate, hertz, 1.0), rate) == 0
        assert clipped(sine(1.0, rate, hertz, 0.9995), rate) == 0
    assert clipped(sine(1.0, rate, 440, 3.0), rate) > 0.3
    noise = np.random.default_rng(0).normal(size=rate).astype(np.float32)
    assert clipped(noise / np.abs(noise).max(), rate) == 0


def test_one_clipped_channel_is_enough():
    quiet, loud = sine(level=0.1), np.clip(sine(level=5.0), -1, 1)
    assert read(encoded(np.stack([quiet, loud], axis=1))).clipped > 0.5
    assert read(encoded(np.stack([quiet, quiet], axis=1))).clipped == 0


def test_clipping_is_seen_through_a_lossy_codec():
    assert clipped(sine(1.0, 48_000, level=10.0), 48_000, lambda x, r: ffmpeg(x, r, "webm", "libopus")) > 0.001


def test_the_descriptor_is_closed_by_its_owner_only(tmp_path: Path):
    path = tmp_path / "a.wav"
    for content in (encoded(sine()), b"no sound"):
        path.write_bytes(content)
        with open(path, "rb") as file:
            with contextlib.suppress(UnusableFile):
                read_sound(file)
            os.fstat(file.fileno())
            assert file.read() == content
