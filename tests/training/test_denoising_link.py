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

IMAGE, AUDIO = Modality("image", (1, 16, 16), (8, 8)), Modality("audio", (1, 8, 8), (4, 4))


class Linked:
    """A disc, on the left or on the right by label, as bright as the sound beside it is loud; true pairs."""

    batch_size, steps_per_epoch = 64, 700

    def batch(self, position: Position) -> dict[str, Tensor]:
        rng = np.random.default_rng(position.update)
        labels, shared = rng.integers(2, size=64), rng.normal(size=(64, 1, 1, 1)).astype(np.float32)
        rows, columns = np.mgrid[:16, :16]
        discs = np.stack([np.hypot(rows - 8, columns - (4 + 8 * label)) < 3.5 for label in labels])[:, None]
        noise = 0.1 * rng.normal(size=(64, 1, 16, 16)) + shared * discs
        hiss = 0.1 * rng.normal(size=(64, 1, 8, 8)) + shared * np.linspace(1.5, 0.5, 8)[:, None]
        pair = {"image": noise, "audio": hiss}
        return {name: torch.from_numpy(x.astype(np.float32)) for name, x in pair.items()} | {
            LABEL: torch.from_numpy(labels)
        }


def shown(pair: dict[str, Tensor], labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """How bright the disc and how loud the sound is, of each pair."""
    sides = torch.stack([pair["image"][:, 0, 5:11, 2:7].mean((1, 2)), pair["image"][:, 0, 5:11, 10:15].mean((1, 2))], 1)
    return sides[torch.arange(len(labels)), labels].numpy(), pair["audio"].mean((1, 2, 3)).numpy()


@pytest.mark.timeout(300)
def test_pairs_from_nothing_keep_what_both_sides_share() -> None:
    torch.manual_seed(0)
    sizes = {"dim": 32, "depth": 2, "heads": 2, "decoder_dim": 48, "decoder_depth": 3, "decoder_heads": 3, "refiner": 8}
    model = DenoisingMAE([IMAGE, AUDIO], **sizes, labels=("left", "right"))
    run, batches = Run(make_accelerator("no")), Linked()
    task = DenoisingTask(model, DenoisingConfig(64, lr=4e-3, alone_share=0.4), run)
    trained = Loop(task, batches, LoopConfig(1, schedule="trapezoid", ema_share=0.1), run).train().eval()
    real = batches.batch(Position(0, 0, 10_000))
    labels = torch.arange(2).repeat(64)
    torch.manual_seed(1)
    made = trained.sample(labels, guidance=1.0)
    real_link, link = (np.corrcoef(*shown(x, y))[0, 1] for x, y in ((real, real[LABEL]), (made, labels)))
    assert real_link > 0.95 and link > 0.8 * real_link
    bright, loud = shown(made, labels)
    assert bright.std() > 0.5 and loud.std() > 0.5, "and its variety"
    # A sound from a picture shares it too; from the picture of another pair it is that one's.
    louder = trained.sample(labels, guidance=1.0, inputs={"image": made["image"].flip(0)})
    assert np.corrcoef(bright[::-1], louder["audio"].mean((1, 2, 3)).numpy())[0, 1] > 0.8 * real_link
