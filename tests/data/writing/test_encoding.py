from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmgen.data.writing.encoding import decode_array, decode_sound, encode_array, encode_picture, encode_sound


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_a_plain_png(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 9, 7), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_picture(pixels))) as picture:
        assert picture.mode == {1: "L", 3: "RGB"}[channels] and not picture.info
        assert np.array_equal(np.asarray(picture), pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))


def test_a_sound_outlasts_any_number_of_round_trips() -> None:
    wave = np.random.default_rng(0).uniform(-1.1, 1.1, 5000)
    content = encode_sound(wave, 16_000)
    for _ in range(3):
        decoded = decode_sound(content, 16_000)
        heard, _ = soundfile.read(io.BytesIO(content), dtype="int16")
        assert decoded.dtype == np.int16 and np.array_equal(decoded, heard)
        assert encode_sound(decoded, 16_000) == content


def test_every_array_has_one_spelling() -> None:
    """Nothing can be told by the bits of what is no number, by signs of zero, order, or precision."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 6)).astype(np.float32)
    values[0], values[1], values[2, 0] = np.nan, 0, np.inf
    other = values.copy()
    other.view(np.uint32)[0] = 0x7F800001 + rng.integers(0, 1 << 22, 6)  # all are no numbers
    other[1] = -0.0
    assert np.isnan(other[0]).all() and encode_array(other) == encode_array(values)
    for array in (values, other):
        assert np.array_equal(decode_array(encode_array(array), 4, 3), values, equal_nan=True)
        for form in (np.asfortranarray(array), array.astype(">f4")):
            buffer = io.BytesIO()
            np.save(buffer, form)
            assert encode_array(decode_array(buffer.getvalue(), 4, 6)) == encode_array(values)
    assert np.array_equal(np.load(io.BytesIO(encode_array(values))), values, equal_nan=True)
