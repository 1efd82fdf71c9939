from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.mel import log_mel, mel_filterbank, mel_to_waveform
from mmgen.data.phantoms import phantom_cough
from mmgen.data.threads import one_thread
from mmgen.errors import UserError

SETTINGS = AudioSettings()
RATE = SETTINGS.sample_rate
LIBROSA = {
    "sr": RATE,
    "n_fft": 1024,
    "hop_length": 160,
    "win_length": 400,
    "center": True,
    "pad_mode": "constant",
    "htk": False,
    "norm": None,
}


def sine(seconds: float, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def sounds() -> dict[str, np.ndarray]:
    """One second each."""
    rng = np.random.default_rng(0)
    cough = phantom_cough(0, rng)[:RATE]
    return {"cough": cough, "noise": rng.normal(scale=0.1, size=RATE).astype(np.float32), "sine": sine(1.0)}


def mel_of(wave: np.ndarray) -> Tensor:
    return log_mel(torch.from_numpy(wave), SETTINGS)


def decibels(ratio: float) -> float:
    return 10 * float(np.log10(ratio))


# -- spectrograms


@pytest.mark.parametrize(("name", "tolerance"), [("cough", 1e-3), ("noise", 1e-3), ("sine", 5e-3)])
def test_log_mel_is_librosas_at_equal_settings(name, tolerance):
    """Both work in float32. A pure tone leaves bands whose power is rounding error of the loud ones (it is 80 dB below
    them), so its logarithm agrees less well; 5e-3 is 0.02 dB."""
    import librosa

    wave = sounds()[name]
    expected = librosa.feature.melspectrogram(y=wave, n_mels=100, **LIBROSA)
    expected = np.log(np.maximum(expected, np.exp(SETTINGS.log_floor)))[:, :100]
    ours = mel_of(wave).numpy()
    assert ours.shape == (100, 100)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {"win_length": 401},
        {"win_length": 1024, "hop_length": 256},
        {"n_fft": 1023, "hop_length": 250},
        {"sample_rate": 8000, "n_fft": 512, "win_length": 200, "hop_length": 80, "n_mels": 40},
    ],
)
def test_log_mel_is_that_of_torchs_stft_at_any_sizes(options):
    settings = AudioSettings(**options)
    wave = torch.from_numpy(sounds()["noise"])[: RATE - 7]
    window = torch.hann_window(settings.win_length)
    spectrum = torch.stft(
        wave, settings.n_fft, settings.hop_length, settings.win_length, window, pad_mode="constant", return_complex=True
    )
    mel = (mel_filterbank(settings).T @ spectrum.abs().square())[:, : len(wave) // settings.hop_length]
    expected = mel.clamp_min(float(np.exp(settings.log_floor))).log()
    torch.testing.assert_close(log_mel(wave, settings), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(1, 0), (159, 0), (160, 1), (500, 3)])
def test_every_whole_hop_is_a_frame(samples, frames):
    assert log_mel(torch.zeros(2, samples), SETTINGS).shape == (2, 100, frames)


def test_filterbank_has_full_row_rank():
    bank = mel_filterbank(SETTINGS)
    assert bank.shape == (513, 100)
    assert torch.linalg.matrix_rank(bank.double()) == 100
    assert (bank.sum(0) > 0).all()


@pytest.mark.parametrize("n_fft", [400, 512])
def test_a_filterbank_with_empty_bands_is_refused(n_fft):
    with pytest.raises(UserError, match=f"100 mel bands need more than n_fft={n_fft}.*raise n_fft"):
        mel_filterbank(AudioSettings(n_fft=n_fft))


def test_twice_the_amplitude_is_four_times_the_power():
    quiet, loud = (mel_of(sounds()["noise"] * np.float32(factor)) for factor in (1.0, 2.0))
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


def round_trip(wave: np.ndarray, mel: Tensor) -> Tensor:
    return (mel_of(wave) - mel).abs()


@pytest.mark.parametrize("name", ["cough", "noise", "sine"])
def test_a_waveform_from_a_log_mel_sounds_like_it(name):
    """Measured: off by 0.06 (cough), 0.07 (noise) and 0.03 (sine) in the logarithm of power (0.1 is 0.4 dB) on average
    over the bands that hold the sound, those within 30 dB of the loudest."""
    mel = mel_of(sounds()[name])
    back = mel_to_waveform(mel, SETTINGS)
    assert back.shape == (RATE,)
    assert back.dtype == torch.float32
    error = round_trip(back.numpy(), mel)[mel > mel.max() - 7.0]
    assert error.mean() < 0.1
    assert error.quantile(0.95) < 0.35


def test_the_way_back_is_nearer_than_librosas():
    import librosa

    mel = mel_of(sounds()["cough"])
    power = torch.cat([mel, mel[:, -1:]], dim=1).exp().numpy()
    theirs = round_trip(librosa.feature.inverse.mel_to_audio(power, n_iter=32, **LIBROSA), mel)
    ours = round_trip(mel_to_waveform(mel, SETTINGS).numpy(), mel)
    assert ours.mean() < 0.8 * theirs.mean()


def test_a_tone_keeps_its_pitch():
    back = mel_to_waveform(mel_of(sine(1.0, hertz=700)), SETTINGS).numpy()
    assert abs(np.abs(np.fft.rfft(back)).argmax() - 700) < 15  # bins of 1 Hz; bands here are 30 Hz apart


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("name", ["cough", "noise"])
def test_level_is_restored(name, gain):
    wave = sounds()[name] * np.float32(gain)
    back = mel_to_waveform(mel_of(wave), SETTINGS).numpy()
    assert abs(decibels(np.mean(back**2) / np.mean(wave**2))) < 0.4


@pytest.mark.parametrize(
    "options", [{"win_length": 1024, "hop_length": 256}, {"n_fft": 1023, "hop_length": 250}, {"hop_length": 400}]
)
def test_other_sizes_go_both_ways(options):
    settings = AudioSettings(**options)
    mel = log_mel(torch.from_numpy(sounds()["noise"]), settings)
    back = mel_to_waveform(mel, settings)
    assert back.shape == (mel.shape[-1] * settings.hop_length,)
    assert (log_mel(back, settings) - mel).abs().mean() < 0.1


def test_a_waveform_does_not_depend_on_its_batch_on_threads_or_on_chance():
    mel = torch.stack([mel_of(wave) for wave in sounds().values()])
    torch.manual_seed(0)
    with one_thread():
        together = mel_to_waveform(mel, SETTINGS)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(mel_to_waveform(mel, SETTINGS), together)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(mel_to_waveform(mel[i], SETTINGS), together[i]) for i in range(3))
    assert torch.equal(mel_to_waveform(mel[:, None], SETTINGS), together[:, None])


def test_silence_stays_silent_and_the_impossible_is_clipped():
    silent = torch.full((100, 20), SETTINGS.log_floor)
    assert torch.equal(mel_to_waveform(silent, SETTINGS), torch.zeros(3200))
    assert torch.equal(mel_to_waveform(silent.half(), SETTINGS), torch.zeros(3200))
    loud = mel_to_waveform(torch.full((100, 20), 15.0), SETTINGS)
    assert loud.abs().max() == 1.0
    assert torch.isfinite(loud).all()


def test_silent_frames_and_bands_stay_below_the_floor():
    mel = mel_of(sounds()["noise"])
    mel[:, 40:60] = SETTINGS.log_floor
    mel[70:] = SETTINGS.log_floor
    again = mel_of(mel_to_waveform(mel, SETTINGS).numpy())
    assert (again[:, 43:57] == SETTINGS.log_floor).all()
    # Not at the beginning, where sound sets in at once.
    assert (again[75:, 2:35] - SETTINGS.log_floor).mean() < 0.05


# -- segments in a row


def long_sounds() -> dict[str, np.ndarray]:
    """Four seconds each; coughs go on over the joints."""
    coughs = np.concatenate([phantom_cough(0, np.random.default_rng(seed)) for seed in range(5)])[: 4 * RATE]
    return {"sine": sine(4.0), "cough": coughs}


def roughness(wave: np.ndarray) -> tuple[float, float]:
    """High-band power (above 6 kHz, in windows of 4 ms) within 2 ms of the joints, and the most elsewhere, in dB."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 64)[::8]
    power = (np.abs(np.fft.rfft(frames * np.hanning(64), axis=1))[:, 24:] ** 2).sum(axis=1)
    centre = np.arange(len(power)) * 8 + 32
    distance = np.min([np.abs(centre - joint) for joint in range(RATE, len(wave), RATE)], axis=0)
    middle = (centre > 800) & (centre < len(wave) - 800)  # a sine that is cut off rings at its ends
    return decibels(power[distance <= 32].max()), decibels(power[(distance > 100) & middle].max())


@pytest.mark.parametrize("name", ["sine", "cough"])
def test_joined_segments_have_no_clicks(name):
    wave = long_sounds()[name]
    segments = mel_of(wave).split(100, dim=-1)
    joined = mel_to_waveform(torch.cat(segments, -1), SETTINGS)
    assert joined.shape == (4 * RATE,)
    at_joints, elsewhere = roughness(joined.numpy())
    assert at_joints < elsewhere + 3
    assert at_joints < roughness(wave)[0] + 3
    one_by_one = np.concatenate([mel_to_waveform(segment, SETTINGS).numpy() for segment in segments])
    naive_at_joints, naive_elsewhere = roughness(one_by_one)
    assert naive_at_joints > at_joints + 3
    if name == "sine":
        assert naive_at_joints > naive_elsewhere + 20


def test_a_jump_in_level_from_one_segment_to_the_next_does_not_click():
    """Segments that a model made one by one may differ so; windows of 25 ms fade between them."""
    levels = (1.0, 0.1, 1.0, 0.01)
    joined = mel_to_waveform(
        torch.cat([mel_of(level * sine(3.0))[:, 100:200] for level in levels], -1), SETTINGS
    ).numpy()
    at_joints, elsewhere = roughness(joined)
    assert at_joints < elsewhere + 3
    for part, level in zip(joined.reshape(4, RATE), levels, strict=True):
        assert abs(decibels(np.mean(part[800:-800] ** 2) / (0.5 * (0.5 * level) ** 2))) < 0.5
