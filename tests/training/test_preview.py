from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgen.models.attention_gan import Generated
from mmgen.training.preview import generation_grid


class Fixed:
    """A generator of known parts: g is the label's own shade, a one half on the left and 1 on the right."""

    def __init__(self) -> None:
        self.labels: Any = None

    def __call__(self, x: Tensor, labels: Tensor) -> Generated:
        self.labels = labels
        g = (labels.float() / 2 - 1)[:, None, None, None].expand_as(x)
        a = torch.ones(len(x), 1, *x.shape[2:])
        a[..., : x.shape[3] // 2] = 0.5
        return Generated(a * x + (1 - a) * g, g, a)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_is_input_mask_generated_and_synthetic(channels: int) -> None:
    x = torch.rand(3, channels, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = torch.tensor([0, 4, 1])
    generator = Fixed()
    picture = generation_grid(generator, x, labels)  # type: ignore[arg-type]
    assert (picture.shape, picture.dtype) == ((3 * 32, 4 * 32, 3), np.uint8)
    assert torch.equal(generator.labels, labels)
    s = generator(x, labels).s
    for row in range(3):
        columns = np.split(picture[32 * row : 32 * row + 32].astype(float), 4, axis=1)
        for column, image in ((columns[0], x[row]), (columns[3], s[row])):
            expected = ((image.permute(1, 2, 0) + 1) * 127.5).expand(-1, -1, 3).numpy()
            assert np.abs(column - expected).max() <= 0.51
        assert set(columns[1][:, :16].ravel()) == {128.0} and set(columns[1][:, 16:].ravel()) == {255.0}
        assert set(columns[2].ravel()) == {[0.0, 255.0, 64.0][row]}


def test_values_out_of_range_do_not_wrap_round() -> None:
    picture = generation_grid(
        Fixed(), torch.tensor([-2.0, 2.0])[:, None, None, None].expand(2, 1, 32, 32), torch.ones(2)
    )  # type: ignore[arg-type]
    assert picture[:32, :32].max() == 0 and picture[32:, :32].min() == 255
