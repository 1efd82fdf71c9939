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
    log_mel,
    log_mel_segments,
    mel_filterbank,
    mel_to_waveform,
    read_audio,
    read_segments,
)
from mmgen.data.manifest import read_manifest
from mmgen.data.phantoms import phantom_cough
from mmgen.errors import UserError

SETTINGS = AudioSettings()
RATE = SETTINGS.sample_rate


def sine(seconds: float, rate: int = RATE, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def sounds() -> dict[str, np.ndarray]:
    """One second each."""
    rng = np.random.default_rng(0)
    cough = phantom_cough(0, rng)[:RATE]
    return {"cough": cough, "noise": rng.normal(scale=0.1, size=RATE).astype(np.float32), "sine": sine(1.0)}


def write(path: Path, wave: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, wave, rate, **options)
    return path


# -- spectrograms


@pytest.mark.parametrize(("name", "tolerance"), [("cough", 1e-3), ("noise", 1e-3), ("sine", 5e-3)])
def test_log_mel_is_librosas_at_equal_settings(name, tolerance):
    """Both work in float32. A pure tone leaves bands whose power is rounding error of the loud ones (it is 80 dB below
    them), so its logarithm agrees less well; 5e-3 is 0.02 dB."""
    import librosa

    wave = sounds()[name]
    expected = librosa.feature.melspectrogram(
        y=wave,
        sr=RATE,
        n_fft=1024,
        hop_length=160,
        win_length=400,
        window="hann",
        center=True,
        pad_mode="constant",
        power=2.0,
        n_mels=100,
        htk=False,
        norm=None,
    )
    expected = np.log(np.maximum(expected, np.exp(SETTINGS.log_floor)))[:, :100]
    ours = log_mel(torch.from_numpy(wave), SETTINGS).numpy()
    assert ours.shape == (100, 100)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance)


def test_filterbank_has_full_row_rank_and_an_inverse():
    bank, inverse = mel_filterbank(SETTINGS)
    assert bank.shape == (513, 100)
    assert torch.linalg.matrix_rank(bank.double()) == 100
    assert (bank.sum(0) > 0).all()
    torch.testing.assert_close(inverse @ bank, torch.eye(100), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_fft", [400, 512])
def test_a_filterbank_with_empty_bands_is_refused(n_fft):
    with pytest.raises(UserError, match=f"100 mel bands need more than n_fft={n_fft}.*raise n_fft"):
        mel_filterbank(AudioSettings(n_fft=n_fft))


def test_twice_the_amplitude_is_four_times_the_power():
    quiet, loud = (log_mel(torch.from_numpy(sounds()["noise"]) * factor, SETTINGS) for factor in (1.0, 2.0))
    assert quiet.min() > SETTINGS.log_floor
    torch.testing.assert_close(loud - quiet, torch.full_like(quiet, 2 * np.log(2)), rtol=0, atol=1e-4)


def test_log_mel_of_a_batch_is_that_of_each_and_silence_is_the_floor():
    waves = torch.from_numpy(np.stack(list(sounds().values()))).reshape(3, 1, -1)
    together = log_mel(waves, SETTINGS)
    assert together.shape == (3, 1, 100, 100)
    torch.testing.assert_close(together[1, 0], log_mel(waves[1, 0], SETTINGS))
    silent = log_mel(torch.zeros(1600), SETTINGS)
    torch.testing.assert_close(silent, torch.full((100, 10), SETTINGS.log_floor))


# -- and back


@pytest.mark.parametrize("name", ["cough", "noise", "sine"])
def test_a_waveform_from_a_log_mel_sounds_like_it(name):
    """Griffin-Lim finds a phase, not the phase. Measured: off by 0.09 to 0.13 in the logarithm of power (0.4 to 0.6 dB)
    on average over the bands that hold the sound, those within 30 dB of the loudest; 0.4 for 95 % of them."""
    wave = sounds()[name]
    mel = log_mel(torch.from_numpy(wave), SETTINGS)
    back = mel_to_waveform(mel, SETTINGS)
    assert back.shape == (RATE,)
    assert back.dtype == torch.float32
    error = (log_mel(back, SETTINGS) - mel).abs()
    audible = mel > mel.max() - 7.0
    assert error[audible].mean() < 0.2
    assert error[audible].quantile(0.95) < 0.6


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
def test_level_is_restored(gain):
    wave = sounds()["cough"] * gain
    back = mel_to_waveform(log_mel(torch.from_numpy(wave), SETTINGS), SETTINGS).numpy()
    decibels = 20 * np.log10(np.sqrt(np.mean(back**2) / np.mean(wave**2)))
    assert abs(decibels) < 1.0


def test_a_waveform_does_not_depend_on_its_batch_or_on_chance():
    mel = torch.stack([log_mel(torch.from_numpy(wave), SETTINGS) for wave in sounds().values()])
    torch.manual_seed(0)
    together = mel_to_waveform(mel, SETTINGS)
    torch.manual_seed(1)
    assert all(torch.equal(mel_to_waveform(mel[i], SETTINGS), together[i]) for i in range(3))
    assert torch.equal(mel_to_waveform(mel[:, None], SETTINGS), together[:, None])


def test_silence_stays_silent_and_the_impossible_is_clipped():
    silent = torch.full((100, 20), SETTINGS.log_floor)
    assert torch.equal(mel_to_waveform(silent, SETTINGS), torch.zeros(3200))
    assert torch.equal(mel_to_waveform(silent.half(), SETTINGS), torch.zeros(3200))
    loud = mel_to_waveform(torch.full((100, 20), 15.0), SETTINGS)
    assert loud.abs().max() == 1.0
    assert torch.isfinite(loud).all()


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
