"""How recordings become log-mel segments."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import UserError

_MOST_NUMBERS = 1 << 29  # of what is computed for one recording
# Far above what recordings and models have, and such that a filterbank is made in a second or two.
_LARGEST = {
    "sample_rate": 1_000_000,
    **dict.fromkeys(("n_fft", "win_length", "hop_length"), 32_768),
    "n_mels": 512,
    **dict.fromkeys(("frames", "segment_frames"), _MOST_NUMBERS),
}


@dataclass(frozen=True)
class AudioSettings:
    """How a recording becomes log-mel segments; stored with every model that was trained on them.

    The defaults are the paper's: 100 bands, 25 ms window, 10 ms hop, 400 frames cut into segments of 100. ``n_fft`` is
    larger than the window because 100 bands over 201 bins leave empty filters, and a filterbank without full row rank
    cannot be inverted.

    Raises:
        UserError: a value makes no sense.
    """

    sample_rate: int = 16_000
    n_fft: int = 1024
    win_length: int = 400
    hop_length: int = 160
    n_mels: int = 100
    frames: int = 400
    segment_frames: int = 100
    log_floor: float = -11.5

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= largest:
                raise UserError(f"{name} must be a whole number of 1 to {largest}, not {value!r}.")
        if not self.hop_length <= self.win_length <= self.n_fft:
            raise UserError(
                "hop_length must not exceed win_length, nor win_length n_fft; they are "
                f"{self.hop_length}, {self.win_length} and {self.n_fft}."
            )
        if not -80.0 <= self.log_floor <= 0.0:
            raise UserError(f"log_floor must be between -80 and 0, not {self.log_floor}.")
        if self.frames * max(self.win_length, self.n_mels) > _MOST_NUMBERS:
            raise UserError(f"{self.frames} frames of {self.win_length} samples are too many; give fewer frames.")
        if self.frames % self.segment_frames:
            raise UserError(f"frames ({self.frames}) must be a multiple of segment_frames ({self.segment_frames}).")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one segment: one channel, bands, frames."""
        return (1, self.n_mels, self.segment_frames)

    @property
    def segment_samples(self) -> int:
        """Waveform samples that one segment stands for."""
        return self.segment_frames * self.hop_length
