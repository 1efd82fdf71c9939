from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from interrupting import interrupted
from tiny import same_weights
from tiny_medsynth import LABELS
from torch import Tensor

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.images import to_bytes
from mmgen.models.modality import Modality
from mmgen.training.inversion import InversionConfig, InversionTask, invert
from mmgen.training.run import Run

MODALITY = Modality("image", (3, 32, 32), (1, 1), (127.5,), (64.0,), value_range=(0.0, 255.0))
CONFIG = InversionConfig(updates=6, together=3)


@pytest.fixture(scope="module")
def generator() -> ConditionalGenerator:
    torch.manual_seed(0)
    model = ConditionalGenerator(32, 3, LABELS, noise=8, width=8)
    model.settle()
    return model


@pytest.fixture(scope="module")
def network() -> ConvNet:
    torch.manual_seed(1)
    return ConvNet((3, 32, 32), 2, 8)


@pytest.fixture(scope="module")
def samples(generator: ConditionalGenerator) -> Samples:
    """Seven images that the generator can make."""
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0])
    with torch.no_grad():
        images = to_bytes(generator(torch.randn(7, 8, generator=torch.Generator().manual_seed(2)), labels))
    return Samples(images.numpy(), labels.numpy(), LABELS, np.arange(7))


def inverted(
    generator: ConditionalGenerator, network: ConvNet, samples: Samples, config: InversionConfig = CONFIG, **run: Any
) -> Tensor:
    return invert(generator, network, samples, MODALITY, config, Run(Accelerator(cpu=True), **run))


def pixel_errors(generator: ConditionalGenerator, latents: Tensor, samples: Samples) -> Tensor:
    """(N,) mean absolute errors of images, 0 to 255."""
    with torch.no_grad():
        made = generator(latents, torch.from_numpy(samples.labels))
    return ((made + 1.0) * 127.5 - torch.from_numpy(samples.values)).abs().mean((1, 2, 3))


def test_images_that_the_generator_can_make_are_found(
    generator: ConditionalGenerator, network: ConvNet, samples: Samples
) -> None:
    config = InversionConfig(updates=150, together=4)
    latents = inverted(generator, network, samples, config)
    start = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    before, after = (pixel_errors(generator, part, samples) for part in (start, latents))
    assert before.min() > 2
    # Half a shade is rounding; some end in another minimum.
    assert after.median() < 0.5 and after.mean() < 0.6 * before.mean(), (before, after)


def test_features_have_a_say(generator: ConditionalGenerator, network: ConvNet, samples: Samples) -> None:
    blind = ConvNet((3, 32, 32), 2, 8)
    for parameter in blind.parameters():
        torch.nn.init.zeros_(parameter)
    assert not torch.allclose(
        inverted(generator, network, samples), inverted(generator, blind, samples), rtol=0, atol=1e-3
    )


def test_a_latent_does_not_depend_on_what_is_inverted_beside_it(
    generator: ConditionalGenerator, network: ConvNet, samples: Samples
) -> None:
    latents = inverted(generator, network, samples)
    for together in (1, 7):
        other = inverted(generator, network, samples, replace(CONFIG, together=together))
        assert torch.allclose(latents, other, rtol=0, atol=0.02), together


def test_an_image_that_is_there_twice_has_two_latents(
    generator: ConditionalGenerator, network: ConvNet, samples: Samples
) -> None:
    latents = inverted(generator, network, samples.select([0, 0]))
    assert not torch.allclose(latents[0], latents[1], rtol=0, atol=0.1)
    other = inverted(generator, network, samples.select([0, 0]), seed=1)
    assert not torch.allclose(latents, other, rtol=0, atol=0.1)


def test_generator_and_network_stay_as_they_are(
    generator: ConditionalGenerator, network: ConvNet, samples: Samples
) -> None:
    before = [{key: value.clone() for key, value in part.state_dict().items()} for part in (generator, network)]
    generator.train()
    latents = inverted(generator, network, samples)
    assert same_weights(generator.state_dict(), before[0]) and same_weights(network.state_dict(), before[1])
    assert torch.equal(latents, inverted(generator, network, samples))


def test_images_are_read_once_for_each_group(
    generator: ConditionalGenerator, network: ConvNet, samples: Samples
) -> None:
    reads: list[list[int]] = []

    class Files:
        def __getitem__(self, index: np.ndarray) -> np.ndarray:
            reads.append(index.tolist())
            return samples.values[index]

    inverted(generator, network, replace(samples, values=Files()))
    assert reads == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("stop", [3, 8])
def test_an_interrupted_inversion_goes_on_to_equal_latents(
    stop: int,
    generator: ConditionalGenerator,
    network: ConvNet,
    samples: Samples,
    tmp_path: Path,
) -> None:
    whole = inverted(generator, network, samples)
    with interrupted(InversionTask, stop, of=18):
        inverted(generator, network, samples, folder=tmp_path)
    assert torch.equal(inverted(generator, network, samples, folder=tmp_path, resume=True), whole)
    with pytest.raises(UserError, match="other settings or data"):
        inverted(generator, network, samples.select(np.arange(7)[::-1]), folder=tmp_path, resume=True)


def test_something_must_be_done() -> None:
    for wrong in ({"updates": 0}, {"together": 0}):
        with pytest.raises(UserError, match="needs updates and images"):
            InversionConfig(**wrong)
