"""The U-Net behind a denoising decoder: sizes, what it sees, and what it says before it has learnt anything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgen import Modality
from mmgen.models.convolutional_head import ConvolutionalHead, ModulatedConvolution

PATCHES = [(8, 8), (16, 8), (6, 8), (5, 4), (7, 3), (1, 1)]


def head_for(patch: tuple[int, int], channels: int = 1) -> ConvolutionalHead:
    torch.manual_seed(0)
    shape = (channels, 3 * patch[0], 4 * patch[1])
    head = ConvolutionalHead(Modality("image", shape, patch), 16, 8)
    torch.nn.init.normal_(head.last.weight, std=0.1)
    return head.eval()


def inputs_of(head: ConvolutionalHead) -> list[Tensor]:
    modality, stream = head.modality, torch.Generator().manual_seed(1)
    patches = (2, modality.tokens, modality.patch_size)
    shapes = [patches, patches, patches[:2], (*patches[:2], 16), (2, 16)]
    return [torch.randn(shape, generator=stream) for shape in shapes]


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("channels", [1, 3])
def test_patches_of_any_size_keep_their_shape(patch: tuple[int, int], channels: int) -> None:
    head = head_for(patch, channels)
    known, *others = inputs_of(head)
    for made in head(known, *others):
        assert made.shape == known.shape and made.dtype == torch.float32
        assert made.std() > 0


@pytest.mark.parametrize("patch", PATCHES)
def test_planes_are_put_together_again(patch: tuple[int, int]) -> None:
    head = head_for(patch, 3)
    patches = inputs_of(head)[0]
    assert torch.equal(head._patches(head._planes(patches)), patches)


def test_neighbours_in_the_sample_are_neighbours_in_the_planes() -> None:
    """A ramp down a sample is one down every plane: borders of patches are not to be seen."""
    head = head_for((8, 8))
    height, width = head.modality.padded
    ramp = torch.arange(float(height)).view(1, 1, height, 1).expand(1, 1, height, width)
    planes = head._planes(head.modality.patchify(ramp))
    assert planes.shape == (1, 4, height // 2, width // 2)
    assert (planes.diff(dim=2) == 2).all() and (planes.diff(dim=3) == 0).all()


def test_a_head_that_has_learnt_nothing_adds_nothing() -> None:
    head = ConvolutionalHead(Modality("image", (1, 16, 16), (8, 8)), 16, 8)
    added, detail = head(*inputs_of(head))
    assert not added.any() and not detail.any()


@pytest.mark.parametrize("which", range(5), ids=["known", "noise", "hidden", "tokens", "condition"])
def test_every_input_counts(which: int) -> None:
    head = head_for((8, 8))
    for block in head.modules():
        if isinstance(block, ModulatedConvolution):
            torch.nn.init.normal_(block.modulation.weight, std=0.1)
    inputs = inputs_of(head)
    before = head(*inputs)
    inputs[which] = 1.5 * inputs[which]
    for part, changed in zip(before, head(*inputs), strict=True):
        assert not torch.allclose(part, changed)


def test_a_token_is_read_where_it_lies() -> None:
    """What a token says changes its own patch more than one that is far away."""
    head = head_for((4, 4))
    inputs = inputs_of(head)
    before, _ = head(*inputs)
    inputs[3][:, 0] *= -1.0
    change = (head(*inputs)[0] - before).abs().mean((0, 2)).view(head.modality.grid)
    assert change[0, 0] > 2 * change[-1, -1]


def test_what_passes_is_the_fine_part_of_the_noise_and_nothing_coarser() -> None:
    head = head_for((8, 8))
    torch.nn.init.zeros_(head.last.weight)
    head.last.bias.data[head.last.out_channels // 3 :] = 1.0  # every gate is open
    inputs = inputs_of(head)
    noise = head.modality.picture(inputs[1])
    _, detail = head(*inputs)
    blurred = torch.nn.functional.avg_pool2d(noise, 7, 1, 3, count_include_pad=False)
    torch.testing.assert_close(head.modality.picture(detail), noise - blurred)
    inputs[1] = torch.full_like(inputs[1], 3.0)
    assert head(*inputs)[1].abs().max() < 1e-5
