from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny import same_weights
from tiny_medsynth import LABELS, small_generator, tiny_samples
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.class_prior import ClassPrior
from mmgen.models.condensed import BATCH, LabelledImages
from mmgen.models.medsynth import MedSynthGenerator, RealImages

PROJECT = Path(__file__).resolve().parents[2]


def of_each_class(made: LabelledImages, count: int) -> list[Tensor]:
    """The first images of every class."""
    return [made.images[made.labels == label][:count] for label in range(len(made.class_names))]


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()} | {
        f"buffer {key}": value.clone() for key, value in model.named_buffers()
    }


# -- sampling


def test_images_are_bytes_class_after_class() -> None:
    model = small_generator()
    made = model.sample(3)
    assert (made.images.dtype, tuple(made.images.shape)) == (torch.uint8, (6, *model.shape))
    assert made.labels.tolist() == [0, 0, 0, 1, 1, 1] and made.class_names == LABELS
    assert made.images.double().std() > 1
    assert len({image.numpy().tobytes() for image in made.images}) == 6


def test_more_images_begin_with_the_same_ones() -> None:
    """Also where a batch is left in the middle and where it is full."""
    model = small_generator()
    most = model.sample(2 * BATCH + 1)
    for count in (1, 10, BATCH, 20):
        assert torch.equal(torch.cat(of_each_class(most, count)), model.sample(count).images), count


def test_a_seed_decides_the_images() -> None:
    model = small_generator()
    torch.manual_seed(1)
    first = model.sample(3, seed=4)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first.images, model.sample(3, seed=4).images)
    assert torch.equal(torch.get_rng_state(), before)
    other = model.sample(3, seed=5)
    for one, two in zip(first.images, other.images, strict=True):
        assert not torch.equal(one, two)


def test_classes_draw_numbers_of_their_own() -> None:
    """With the same statistics for both, the input of the second would otherwise be that of the first again."""
    model = small_generator()
    for value in model.prior.buffers():
        if value.shape[:1] == (2,):
            value[1] = value[0]
    seen: list[Tensor] = []
    model.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.sample(1)
    assert len(seen) == 2 and not torch.equal(*seen)


def test_parts_are_those_of_the_whole() -> None:
    model = small_generator()
    whole = of_each_class(model.sample(40, seed=3), 40)[1]
    for indices in (range(0, 40), range(15, 17), range(16, 32), range(31, 40), range(5, 6)):
        parts = list(model.batches(1, indices, seed=3))
        assert torch.equal(torch.cat(parts), whole[indices.start : indices.stop]), indices
        assert all(0 < len(part) <= BATCH for part in parts)


@pytest.mark.parametrize("real", [False, True])
def test_a_model_left_in_training_mode_gives_the_same_and_does_not_change(real: bool) -> None:
    model = small_generator(real=real)
    samples = tiny_samples()
    images, labels = torch.from_numpy(samples.values), torch.from_numpy(samples.labels)

    def make() -> Tensor:
        return (model.condense(images, labels) if real else model.sample(3)).images

    expected = make()
    model.train()
    before = state(model)
    assert torch.equal(make(), expected) and torch.equal(make(), expected)
    assert same_weights(state(model), before)
    assert not any(parameter.grad is not None for parameter in model.parameters())


# -- condensing


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mask_of_one_hands_the_real_images_through_to_the_byte(channels: int) -> None:
    model = small_generator(real=True, channels=channels)
    samples = tiny_samples(counts=(11, 12), channels=channels)
    images, labels = torch.from_numpy(samples.values), torch.from_numpy(samples.labels)
    images[0] = torch.arange(256, dtype=torch.uint8).repeat(4).view(32, 32)  # every byte there is
    assert not torch.equal(model.condense(images, labels).images, images)
    nn.init.constant_(model.generator.to_mask.bias, 40.0)
    made = model.condense(images, labels)
    assert torch.equal(made.images, images) and torch.equal(made.labels, labels)
    assert torch.equal(model.condense(images.float() / 127.5 - 1, labels).images, images)
    nn.init.constant_(model.generator.to_mask.bias, -200.0)  # and of zero, none of them
    dark, bright = (model.condense(torch.full_like(images, value), labels).images for value in (0, 255))
    assert dark.float().sub(bright).abs().mean() < 200


def test_condensed_images_are_what_the_generator_makes() -> None:
    model = small_generator(real=True)
    samples = tiny_samples(counts=(12, 13))
    images, labels = torch.from_numpy(samples.values), torch.from_numpy(samples.labels)
    made = model.condense(images, labels)
    with torch.no_grad():
        expected = model.generator(images.float() / 127.5 - 1, labels).s
    assert (made.images.float() - (expected + 1) * 127.5).abs().max() < 0.51
    assert made.class_names == LABELS and made.labels.dtype == torch.int64


# -- saving

READER = """
import sys
import numpy as np
from mmgen.models.medsynth import MedSynthGenerator

model = MedSynthGenerator.from_pretrained(sys.argv[1])
assert model.class_names == ("gesund", "меланома")
np.save(sys.argv[2], model.sample(5, seed=7).images.numpy())
"""


def test_another_process_that_has_no_data_makes_the_same_bytes(tmp_path: Path) -> None:
    model = small_generator()
    model.save_pretrained(tmp_path / "модель 1")
    (tmp_path / "empty").mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    arguments = [str(tmp_path / "модель 1"), str(tmp_path / "made.npy")]
    command = [sys.executable, "-c", "import torch; torch.set_num_threads(1)\n" + READER, *arguments]
    done = subprocess.run(command, env=environment, cwd=tmp_path / "empty", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as there: the order of sums depends on it
    try:
        expected = model.sample(5, seed=7).images
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(np.load(tmp_path / "made.npy"), expected.numpy())


@pytest.mark.parametrize(("channels", "directions"), [(1, 8), (3, 2)])
def test_a_folder_holds_of_the_prior_the_documented_statistics(tmp_path: Path, channels: int, directions: int) -> None:
    samples = tiny_samples(channels=channels)
    images, labels = torch.from_numpy(samples.values), torch.from_numpy(samples.labels)
    prior = ClassPrior.fit(images, labels, LABELS, floor=4, directions=directions)
    MedSynthGenerator.build(AttentionGenerator(32, channels, 2, 8, 1), LABELS, prior).save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys() if key.startswith("prior.")}  # noqa: SIM118
        rest = {key for key in file.keys() if not key.startswith(("prior.", "generator."))}  # noqa: SIM118
        assert not rest and not (file.metadata() or {}).keys() - {"format"}
    names = ("counts", "mean", "directions", "deviations", "remainder", "texture")
    assert stored.keys() == {f"prior.{name}" for name in names}
    assert sum(value.numel() for value in stored.values()) == 2 * (
        1 + 3 * channels * 64 + directions * (1 + channels * 64)
    )
    assert all(torch.equal(value, prior.state_dict()[key.removeprefix("prior.")]) for key, value in stored.items())


def test_a_generator_from_real_images_holds_none_of_them(tmp_path: Path) -> None:
    samples = tiny_samples()
    real = RealImages(torch.from_numpy(samples.values), torch.from_numpy(samples.labels))
    model = small_generator(real=True)
    before = model.state_dict().keys()
    real.sample(torch.tensor([0, 1]), torch.Generator().manual_seed(0))
    model.condense(torch.from_numpy(samples.values), torch.from_numpy(samples.labels))
    assert model.state_dict().keys() == before
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert all(key.startswith("generator.") for key in file.keys())  # noqa: SIM118
        size = sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118
    assert size == sum(value.numel() for value in model.generator.state_dict().values())


@pytest.mark.parametrize("real", [False, True])
def test_the_configuration_is_sizes_and_names_alone(tmp_path: Path, real: bool) -> None:
    model = small_generator(real=real)
    model.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    assert config.pop("prior", None) == (None if real else {"floor": 4, "directions": 8, "pooled": []})
    sizes = {"image_size": 32, "channels": 3, "width": 8, "blocks": 1}
    assert config == {
        "kind": "medsynth",
        **sizes,
        "class_names": list(LABELS),
        "input_prior": "real" if real else "class",
    }
    assert "/" not in text and str(tmp_path) not in text
    again = MedSynthGenerator.from_pretrained(tmp_path)
    assert same_weights(again.state_dict(), model.state_dict())
    assert (again.shape, again.class_names, again.origin) == (model.shape, LABELS, model.origin)


def test_pooled_classes_are_known_after_saving(tmp_path: Path) -> None:
    samples = tiny_samples(counts=(12, 12))
    images, labels = torch.from_numpy(samples.values), torch.from_numpy(samples.labels)
    people = torch.cat([torch.arange(12), 20 + torch.arange(12) % 3])
    prior = ClassPrior.fit(images, labels, LABELS, floor=5, subjects=people)
    MedSynthGenerator.build(AttentionGenerator(32, 3, 2, 8, 1), LABELS, prior).save_pretrained(tmp_path)
    assert MedSynthGenerator.from_pretrained(tmp_path).prior.pooled == ["меланома"]


# -- wrong input


def condense(count: int = 2, labels: int = 2, channels: int = 3, label: int = 0) -> Callable[[], Any]:
    """Condensing so many grey images with so many labels, all the same."""
    images = torch.zeros(count, channels, 32, 32)
    return lambda: small_generator(real=True).condense(images, torch.full((labels,), label))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: small_generator(real=True).sample(2), r"starts from real images.*call condense\(images, labels\)"),
        (
            lambda: small_generator().condense(torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long)),
            r"starts from its own prior.*call sample",
        ),
        (condense(channels=1), r"takes images \(N, \(3, 32, 32\)\), not \(2, 1, 32, 32\); convert grey to RGB"),
        (condense(label=2), r"Labels are 0 to 1, not 2"),
        (condense(label=-1), r"Labels are 0 to 1, not -1"),
        (condense(count=0, labels=0), r"0 labels for 0 images"),
        (condense(labels=3), r"3 labels for 2 images"),
        (
            lambda: small_generator(real=True).condense(torch.zeros(3, 32, 32), torch.zeros(3, dtype=torch.long)),
            r"takes images \(N, \(3, 32, 32\)\), not \(3, 32, 32\)",
        ),
        (lambda: small_generator().sample(0), r"At least 1 image a class"),
        (lambda: small_generator().sample(-3), r"At least 1 image a class"),
        (lambda: small_generator().sample(2, seed=-1), r"seed of 0 or more"),
        (lambda: MedSynthGenerator(40, 3, LABELS), r"multiple of 16, not 40"),
        (lambda: MedSynthGenerator(32, 2, LABELS), r"1 \(grey\) or 3 \(RGB\) channels, not 2"),
        (
            lambda: MedSynthGenerator(32, 3, LABELS, input_prior="both"),
            r"one of .*'mae'.*, not 'both'",
        ),  # type: ignore[arg-type]
    ],
)
def test_wrong_input_is_refused_in_one_sentence(wrong: Callable[[], Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        wrong()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message


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
