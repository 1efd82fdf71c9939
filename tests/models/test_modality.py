from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from mmgen.errors import UserError
from mmgen.models.modality import Modality

SIZES = [
    ((1, 16, 16), (4, 4), None),
    ((3, 8, 12), (4, 3), None),
    ((1, 10, 14), (5, 4), None),
    ((3, 7, 5), (2, 3), None),
    ((1, 100, 100), (8, 8), (112, 112)),
    ((2, 5, 9), (5, 9), None),
    ((1, 4, 4), (8, 8), (16, 8)),
]


@pytest.mark.parametrize(("shape", "patch", "pad_to"), SIZES)
def test_patchify_round_trip_is_exact(shape, patch, pad_to):
    modality = Modality("x", shape, patch, pad_to=pad_to)
    x = torch.randn(3, *shape)
    patches = modality.patchify(x)
    assert patches.shape == (3, modality.tokens, modality.patch_size)
    assert torch.equal(modality.unpatchify(patches), x)


@pytest.mark.parametrize(("shape", "patch", "pad_to"), SIZES)
def test_valid_marks_the_data_and_nothing_else(shape, patch, pad_to):
    modality = Modality("x", shape, patch, pad_to=pad_to)
    valid = modality.valid()
    assert valid.sum() == torch.Size(shape).numel()
    assert torch.equal(modality.unpatchify(valid[None]), torch.ones(1, *shape))
    beyond = modality.patchify(torch.full((1, *shape), 7.0))[0][valid == 0]
    assert torch.equal(beyond, torch.zeros_like(beyond))


@pytest.mark.parametrize(("shape", "patch", "pad_to"), SIZES)
def test_patches_are_what_a_patch_embedding_convolution_sees(shape, patch, pad_to):
    modality = Modality("x", shape, patch, pad_to=pad_to)
    x = torch.randn(2, *shape)
    kernel = torch.randn(6, shape[0], *patch)
    height, width = modality.padded
    padded = F.pad(x, (0, width - shape[2], 0, height - shape[1]))
    convolved = F.conv2d(padded, kernel, stride=patch).flatten(2).transpose(1, 2)
    torch.testing.assert_close(modality.patchify(x) @ kernel.flatten(1).T, convolved, rtol=1e-4, atol=1e-4)


def test_sizes_are_derived():
    modality = Modality("audio", (1, 100, 90), (8, 16))
    assert modality.padded == (104, 96)
    assert modality.grid == (13, 6)
    assert (modality.tokens, modality.patch_size) == (78, 128)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_normalisation_round_trip_for_every_channel(dtype):
    modality = Modality("x", (3, 4, 4), (2, 2), (10.0, 100.0, 200.0), (5.0, 50.0, 20.0), value_range=(0.0, 255.0))
    x = torch.randint(0, 256, (2, 3, 4, 4)).to(dtype)
    normal = modality.normalise(x)
    assert normal.dtype == torch.float32
    torch.testing.assert_close(normal[:, 1], (x[:, 1].float() - 100) / 50)
    torch.testing.assert_close(modality.denormalise(normal), x.float(), atol=1e-4, rtol=0)


def test_denormalise_clamps_to_the_range_of_valid_values():
    bounded = Modality("x", (1, 2, 2), (1, 1), (100.0,), (50.0,), value_range=(0.0, 255.0))
    far = torch.tensor([-9.0, 0.0, 9.0, 1.0]).view(1, 1, 2, 2)
    assert bounded.denormalise(far).flatten().tolist() == [0.0, 100.0, 255.0, 150.0]
    unbounded = Modality("x", (1, 2, 2), (1, 1), (100.0,), (50.0,))
    assert unbounded.denormalise(far).flatten().tolist() == [-350.0, 100.0, 550.0, 150.0]


def test_the_lowest_value_is_set_apart_and_comes_back():
    """What is predicted anywhere in the gap is the lowest value again; all else stays as it is."""
    bounded = Modality("x", (1, 2, 2), (1, 1), (100.0,), (50.0,), value_range=(0.0, 255.0))
    x = torch.tensor([0.0, 1.0, 99.0, 255.0]).view(1, 1, 2, 2)
    apart = bounded.set_apart(x, 0.3)
    assert apart.flatten().tolist() == pytest.approx([-15.0, 1.0, 99.0, 255.0])
    half_way = apart.where(apart > 0, 0.5 * apart)
    for values in (apart, half_way):
        torch.testing.assert_close(bounded.denormalise(bounded.normalise(values)), x)
    unbounded = Modality("x", (1, 2, 2), (1, 1))
    assert torch.equal(unbounded.set_apart(x, 0.3), x)


def test_dictionary_survives_json():
    modality = Modality("x", (3, 8, 12), (4, 3), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (16, 12), (0.0, 255.0))
    assert Modality(**json.loads(json.dumps(modality.to_dict()))) == modality


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "chest x-ray"}, "letters, digits"),
        ({"shape": (1, 0, 8)}, "must be positive"),
        ({"patch": (0, 4)}, "must be positive"),
        ({"patch": (4, 4.0)}, "must be positive whole numbers"),
        ({"shape": (3, 8, 8, 8)}, "three sizes of shape"),
        ({"pad_to": (8,)}, "two of .* pad_to"),
        ({"name": "x" * 101}, "at most 100 letters, digits"),
        ({"mean": (float("nan"),)}, "must be finite numbers, got nan"),
        ({"std": (float("inf"),)}, "must be finite numbers, got inf"),
        ({"value_range": (0.0, float("inf"))}, "must be finite numbers, got inf"),
        ({"value_range": (1.0, 1.0)}, r"value_range is \(low, high\)"),
        ({"std": (1e-50,)}, "std must be positive"),
        ({"mean": (1.0, 2.0)}, "1 or 3 numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be positive"),
        ({"pad_to": (8, 4)}, "pad_to"),
        ({"pad_to": (9, 9)}, "pad_to"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(values, said):
    with pytest.raises(UserError, match=said):
        Modality(**{"name": "x", "shape": (3, 8, 8), "patch": (4, 4), **values})


def test_a_sample_of_another_shape_is_refused_by_name():
    with pytest.raises(UserError, match=r"'scan' expects samples of shape \(1, 8, 8\), got \(3, 8, 8\)"):
        Modality("scan", (1, 8, 8), (4, 4)).patchify(torch.zeros(2, 3, 8, 8))
