from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.real_images import RealImages


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, size: int = 32, channels: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, size, size, generator=seeded(seed)) * 2 - 1


def alternating(count: int) -> Tensor:
    return torch.arange(count) % 2


def test_real_images_are_drawn_by_label_and_all_of_them():
    images, labels = noise(12), torch.tensor([2, 0] * 6)
    real = RealImages(images, labels)
    drawn = real.sample(torch.tensor([0, 2] * 100), seeded())
    rows = [next(i for i, image in enumerate(images) if torch.equal(image, one)) for one in drawn]
    assert labels[rows].tolist() == [0, 2] * 100
    assert set(rows) == set(range(12))
    assert torch.equal(drawn, real.sample(torch.tensor([0, 2] * 100), seeded()))
    assert not torch.equal(drawn, real.sample(torch.tensor([0, 2] * 100), seeded(1)))


def test_nothing_of_real_images_is_in_the_state():
    real = RealImages(noise(12), alternating(12))
    assert real.state_dict() == {} and not list(real.parameters()) and not list(real.buffers())


def test_real_images_may_be_bytes():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(-1, 1, 32, 32)
    drawn = RealImages(images, torch.tensor([0, 1])).sample(torch.tensor([0, 1]), seeded())
    assert drawn.dtype == torch.float32 and drawn[:, 0, 0, 0].tolist() == [-1.0, 1.0]


class Unread:
    """Images that are read when integers index them."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.asked = values, []

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        assert isinstance(rows, np.ndarray) and rows.dtype == np.int64
        self.asked.append(rows)
        return self.values[rows]


def test_real_images_may_be_read_when_they_are_drawn():
    values = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
    labels, wanted = torch.tensor([2, 0] * 6), torch.tensor([0, 2] * 20)
    unread = Unread(values)
    real = RealImages(unread, labels)
    assert not unread.asked
    drawn = real.sample(wanted, seeded())
    assert len(unread.asked) == 1 and labels[unread.asked[0]].equal(wanted)
    assert drawn.dtype == torch.float32 and drawn.device.type == "cpu"
    assert torch.equal(drawn, RealImages(torch.from_numpy(values), labels).sample(wanted, seeded()))
    with pytest.raises(UserError, match="must be uint8, not float16"):
        RealImages(Unread(values.astype(np.float16)), labels).sample(wanted, seeded())
    with pytest.raises(UserError, match="5 labels for 12 images"):
        RealImages(unread, labels[:5])


@pytest.mark.parametrize("images", [torch.zeros(4, 1, 32, 32), Unread(np.zeros((4, 1, 32, 32), np.uint8))])
def test_real_images_go_to_the_device_that_is_named(images):
    real = RealImages(images, alternating(4), device="meta")
    assert real.sample(alternating(4), seeded()).device.type == "meta"


def test_a_class_without_real_images_is_named():
    real = RealImages(noise(4), torch.tensor([0, 2, 2, 0]))
    with pytest.raises(UserError, match=r"no real image of class 1, 3 to draw; there are \[0, 2\]"):
        real.sample(torch.tensor([0, 1, 3]), seeded())
    with pytest.raises(UserError, match="5 labels for 4 images"):
        RealImages(noise(4), torch.zeros(5, dtype=torch.long))
