from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mmgen.data.audio import (
    AUDIO_SUFFIXES,
    AudioSettings,
    log_mel_segments,
    read_audio,
    read_segments,
)
from mmgen.data.manifest import read_manifest
from mmgen.data.mel import log_mel
from mmgen.errors import UserError

SETTINGS = AudioSettings()
RATE = SETTINGS.sample_rate


def sine(seconds: float, rate: int = RATE, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, wave: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, wave, rate, **options)
    return path


# -- segments


@pytest.mark.parametrize(
    ("samples", "segments"),
    [(1, 1), (800, 1), (16_000, 1), (16_000 + 3_999, 1), (16_000 + 4_000, 2), (40_000, 3), (64_000, 4), (900_000, 4)],
)
def test_segments_hold_the_sound_and_no_padding_alone(samples, segments):
    made = log_mel_segments(np.full(samples, 0.1, np.float32), SETTINGS)
    assert made.shape == (segments, 1, 100, 100)
    assert made.dtype == np.float16
    assert (made.astype(np.float32).max(axis=(1, 2, 3)) > SETTINGS.log_floor + 1).all()


def test_segments_are_the_spectrogram_cut_up():
    wave = np.concatenate([sine(1.0), sine(1.0, hertz=1000), sine(0.5, hertz=2000)])
    made = log_mel_segments(wave, SETTINGS).astype(np.float32)
    whole = log_mel(torch.from_numpy(np.pad(wave, (0, 8000))), SETTINGS).numpy()
    np.testing.assert_allclose(np.concatenate(made[:, 0], axis=1), whole, atol=5e-3)
    bands = made[:, 0].mean(axis=2).argmax(axis=1)
    assert bands[0] < bands[1] < bands[2]
    assert (made[2, 0, :, 55:] == np.float16(SETTINGS.log_floor)).all()


def test_settings_are_checked_and_sizes_derived():
    assert SETTINGS.shape == (1, 100, 100)
    assert SETTINGS.segment_samples == 16_000
    with pytest.raises(UserError, match=r"frames \(250\) must be a multiple of segment_frames \(100\)"):
        AudioSettings(frames=250)


# -- files


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channel_count_becomes_mono_16_khz(tmp_path, rate, channels):
    wave = sine(1.0, rate)
    path = write(tmp_path / "a.wav", np.stack([wave] * channels, axis=1) if channels > 1 else wave, rate)
    read = read_audio(path, SETTINGS)
    assert read.dtype == np.float32
    assert read.ndim == 1
    assert abs(len(read) - RATE) <= 1
    middle = slice(2000, 14_000)  # resampling rings at both ends
    np.testing.assert_allclose(read[middle], sine(1.0)[middle], atol=5e-3)


def test_channels_are_averaged(tmp_path):
    left, right = sine(0.1, hertz=300), sine(0.1, hertz=500)
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path, SETTINGS), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au"])
def test_every_format_that_is_offered_is_read(tmp_path, suffix):
    assert suffix in AUDIO_SUFFIXES
    path = write(tmp_path / f"ein Husten ä 咳{suffix}", sine(0.5))
    read = read_audio(path, SETTINGS)
    assert abs(len(read) - 8000) < 2500  # lossy codecs pad
    assert np.abs(read).max() == pytest.approx(0.5, abs=0.05)


def test_no_more_is_decoded_than_asked_for(tmp_path):
    path = write(tmp_path / "long.wav", np.zeros(600 * 8000, np.int16), 8000)
    start = time.perf_counter()
    assert len(read_audio(path, SETTINGS, seconds=4.0)) == 64_000
    assert time.perf_counter() - start < 1.0
    assert len(read_audio(write(tmp_path / "short.wav", sine(0.05)), SETTINGS, seconds=4.0)) == 800


def test_clipped_and_silent_recordings_are_fine(tmp_path):
    clipped = write(tmp_path / "clipped.wav", np.clip(sine(1.0, level=20.0), -1, 1))
    silent = write(tmp_path / "silent.wav", np.zeros(800))
    for path in (clipped, silent):
        made = log_mel_segments(read_audio(path, SETTINGS), SETTINGS)
        assert np.isfinite(made).all()
    assert (made == np.float16(SETTINGS.log_floor)).all()


def broken_files(folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    nan = sine(0.1)
    nan[100] = np.nan
    garbage, header = folder / "garbage.wav", folder / "truncated.flac"
    garbage.write_bytes(b"this is no sound")
    header.write_bytes(write(folder / "whole.flac", sine(0.5)).read_bytes()[:20])
    (folder / "whole.flac").unlink()
    return {
        "holds no samples": write(folder / "empty.wav", np.zeros(0)),
        "not numbers": write(folder / "nan.wav", nan, subtype="FLOAT"),
        "Cannot read sound file": garbage,
        "Cannot read": header,
    }


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    for said, path in broken_files(tmp_path).items():
        with pytest.raises(UserError, match=f"{said}.*") as error:
            read_audio(path, SETTINGS)
        assert str(path) in str(error.value)
    with pytest.raises(UserError, match=r"gone\.wav"):
        read_audio(tmp_path / "gone.wav", SETTINGS)


def test_bad_files_are_listed_together(tmp_path):
    bad = broken_files(tmp_path / "sick")
    write(tmp_path / "sick" / "good.wav", sine(0.5))
    manifest = read_manifest(tmp_path, AUDIO_SUFFIXES)
    with pytest.raises(UserError, match="4 sound files cannot be used") as error:
        read_segments(manifest, SETTINGS)
    assert all(path.name in str(error.value) for path in bad.values())


@pytest.mark.parametrize("workers", [1, 4])
def test_segments_know_the_row_they_come_from(tmp_path, workers):
    lengths = {"a": 0.2, "b": 2.2, "c": 9.0}
    for name, seconds in lengths.items():
        (tmp_path / "label").mkdir(exist_ok=True)
        write(tmp_path / "label" / f"{name}.wav", sine(seconds))
    segments, rows = read_segments(read_manifest(tmp_path, AUDIO_SUFFIXES), SETTINGS, workers)
    assert rows.tolist() == [0, 1, 1, 2, 2, 2, 2]
    assert segments.shape == (7, 1, 100, 100)
    assert segments.dtype == np.float16
