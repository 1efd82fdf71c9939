from __future__ import annotations

import torch

from mmgen.evaluation.fidelity.units import unit_range
from mmgen.models.modality import Modality


def test_images_are_scaled_by_their_range() -> None:
    image = Modality("image", (1, 1, 3), (1, 1), (77.0,), (3.0,), value_range=(0.0, 255.0))
    found = unit_range(image, torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8))
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.2, 1.0]]]]))


def test_log_mels_are_scaled_by_three_deviations() -> None:
    sound = Modality("audio", (1, 1, 5), (1, 1), (-6.0,), (2.0,))
    found = unit_range(sound, torch.tensor([[[[-20.0, -12.0, -6.0, -3.0, 9.0]]]], dtype=torch.float16))
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.0, 0.5, 0.75, 1.0]]]]))
