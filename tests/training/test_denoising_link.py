"""What image and sound share beyond their label, pairs from nothing share too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.modality import Modality
from mmgen.training.batches import LABEL
from mmgen.training.denoising import DenoisingConfig, DenoisingTask
from mmgen.training.engine import make_accelerator
from mmgen.training.loop import Loop, LoopConfig, Position
from mmgen.training.run import Run

IMAGE, AUDIO = Modality("image", (1, 8, 8), (4, 4)), Modality("audio", (1, 4, 4), (2, 2))


class Linked:
    """Pictures that are lighter on the left or on the right, by label, and on the whole as bright as the sound beside
    them is loud; true pairs."""

    batch_size, steps_per_epoch = 64, 700

    def batch(self, position: Position) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(position.update)
        labels = torch.randint(2, (64,), generator=generator)
        shared, hiss = (torch.randn(64, 1, *shape, generator=generator) for shape in ((1, 1), (4, 4)))
        side = torch.where(torch.arange(8) < 4, 1.0, -1.0) * (1.0 - 2.0 * labels[:, None])
        pictures = shared + side[:, None, None] + 0.1 * torch.randn(64, 1, 8, 8, generator=generator)
        return {"image": pictures, "audio": shared + 0.1 * hiss, LABEL: labels}


def shown(pair: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """How bright the picture and how loud the sound is, of each pair."""
    return pair["image"].mean((1, 2, 3)).numpy(), pair["audio"].mean((1, 2, 3)).numpy()


@pytest.mark.timeout(300)
def test_pairs_from_nothing_keep_what_both_sides_share() -> None:
    torch.manual_seed(0)
    sizes = {"dim": 32, "depth": 2, "heads": 2, "decoder_dim": 32, "decoder_depth": 2, "decoder_heads": 2}
    model = DenoisingMAE([IMAGE, AUDIO], **sizes, head_width=8, labels=("left", "right"))
    run, batches = Run(make_accelerator("no")), Linked()
    task = DenoisingTask(model, DenoisingConfig(64, lr=1.5e-3, alone_share=0.5), run)
    trained = Loop(task, batches, LoopConfig(1, schedule="trapezoid", ema_share=0.1), run).train().eval()
    real, labels = batches.batch(Position(0, 0, 10_000)), torch.arange(2).repeat(64)
    torch.manual_seed(1)
    made = trained.sample(labels, guidance=1.0)
    bright, loud = shown(made)
    real_link, link = (np.corrcoef(*pair)[0, 1] for pair in (shown(real), (bright, loud)))
    assert real_link > 0.95 and link > 0.8 * real_link
    assert bright.std() > 0.5 and loud.std() > 0.5, "and its variety"
    left = made["image"][..., :4].mean((1, 2, 3)) - made["image"][..., 4:].mean((1, 2, 3))
    assert ((left > 0) == (labels == 0)).float().mean() > 0.95, "and its label"
    # A sound from a real picture shares it too.
    sounds = trained.sample(real[LABEL], guidance=1.0, inputs={"image": real["image"]})
    assert np.corrcoef(shown(real)[0], shown(sounds)[1])[0, 1] > 0.8 * real_link
