from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import train_gan_tiny as tiny_gan
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from interrupting import interrupted
from small import run as run_script
from tiny import same_weights
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.attention_gan import AttentionGenerator, Critic
from mmgen.models.gan_losses import critic_loss, gradient_penalty
from mmgen.models.images import to_unit_range
from mmgen.models.medsynth import MedSynthGenerator, RealImages
from mmgen.training import gan as module
from mmgen.training.batches import LabelledBatches
from mmgen.training.engine import from_all
from mmgen.training.gan import GAN, GANConfig, GANTask, RestorationTask, matching_loss
from mmgen.training.loop import LoopConfig, Position
from mmgen.training.run import Checkpoints, Run

TESTS = Path(__file__).resolve().parents[1]
MODALITY, SAMPLES = tiny_gan.MODALITY, tiny_gan.make_samples()


@pytest.fixture
def bf16() -> Iterator[Accelerator]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True, mixed_precision="bf16")
    AcceleratorState._reset_state(reset_partial_state=True)


def make_task(accelerator: Accelerator, matcher: nn.Module | None = None, prior: Any = None, **options: Any) -> GANTask:
    config = GANConfig(**{"batch_size": 6, "lr": 1e-3, "critic_lr": 1e-3, **options})
    prior = prior or tiny_gan.make_prior(SAMPLES)
    return GANTask(tiny_gan.make_gan(), prior, config, Run(accelerator), MODALITY, matcher)


def updates(task: GANTask, count: int) -> Iterator[dict[str, Tensor]]:
    """The first updates of the tiny data, one after another."""
    config = task.config
    batches = LabelledBatches(SAMPLES, config.critic_steps * config.batch_size, 99, 0, True, shared=True)
    for update in range(count):
        position = Position(0, update, update)
        yield task.update(batches.batch(position), position)


def seen_by(critic: Critic) -> list[Tensor]:
    """Collects the images that the critic is asked about."""
    seen: list[Tensor] = []
    critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    return seen


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


# -- precision


def test_critic_and_penalty_stay_float32_in_bf16(bf16: Accelerator) -> None:
    critic = tiny_gan.make_gan().critic
    real, fake = (torch.rand(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1).unbind()
    epsilon = torch.full((4,), 0.3)

    def losses() -> tuple[Tensor, Tensor]:
        penalty = gradient_penalty(critic, real, fake, epsilon)
        return penalty, critic_loss(critic(real).score, critic(fake).score, penalty)

    exact = losses()
    with bf16.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        found = losses()
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.float32 and one.isfinite() and torch.equal(one, other)


@pytest.mark.parametrize("phase", [1, 2])
def test_a_whole_update_in_bf16_is_finite_with_a_critic_in_float32(bf16: Accelerator, phase: int) -> None:
    task = make_task(bf16, tiny_gan.make_matcher() if phase == 2 else None)
    kinds: dict[str, set[torch.dtype]] = {"generator": set(), "critic": set(), "matcher": set()}
    for name, part in (("generator", task.model.generator), ("critic", task.model.critic), ("matcher", task.matcher)):
        for layer in part.modules() if part else ():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(lambda _, __, out, name=name: kinds[name].add(out.dtype))
    for scalars in updates(task, 3):
        assert all(value.dtype == torch.float32 and value.isfinite() for value in scalars.values()), scalars
    assert kinds["critic"] == {torch.float32}
    assert kinds["generator"] == {torch.bfloat16}
    assert kinds["matcher"] == ({torch.bfloat16} if phase == 2 else set())
    assert all(parameter.dtype == torch.float32 and parameter.isfinite().all() for parameter in task.model.parameters())


# -- learning


def test_classes_keep_the_colours_that_the_real_images_have(accelerator: Accelerator) -> None:
    """Warm-up and a little of phase I: constant colours come out as they went in."""
    gan, prior = tiny_gan.make_gan(), tiny_gan.make_prior(SAMPLES)

    def colours() -> tuple[np.ndarray, np.ndarray]:
        made = MedSynthGenerator.build(gan.generator, tiny_gan.LABELS, prior).sample(6)
        return made.images.double().mean((2, 3)).numpy(), made.labels.numpy()

    before = np.abs(colours()[0] - tiny_gan.COLOURS[colours()[1]]).max()
    warm_up, phase1 = (LoopConfig(1, steps, "constant", warmup=0.0) for steps in (60, 10))
    learning = module.RestorationConfig(batch_size=6, lr=5e-3)
    module.warm_up(gan.generator, prior, SAMPLES, learning, warm_up, Run(accelerator))
    module.train_gan(gan, prior, SAMPLES, MODALITY, GANConfig(batch_size=6), phase1, Run(accelerator))
    found, labels = colours()
    distances = np.linalg.norm(found[:, None] - tiny_gan.COLOURS, axis=-1)
    assert (distances.argmin(1) == labels).all()
    off = np.abs(found - tiny_gan.COLOURS[labels]).max()
    assert off < 25 and before > 45, (off, before)


def test_less_of_the_input_is_used_where_that_costs(accelerator: Accelerator) -> None:
    shares = {}
    for weight in (0.0, 10.0):
        logged = list(updates(make_task(accelerator, mask_weight=weight), 12))
        shares[weight] = [float(scalars["mean_attention"]) for scalars in logged]
    assert shares[10.0][0] == shares[0.0][0]
    assert shares[10.0][-1] < 0.8 * shares[10.0][0] and shares[10.0][-1] < 0.8 * shares[0.0][-1]


@pytest.mark.parametrize("steps", [1, 3])
def test_the_critic_takes_its_steps_on_images_of_their_own(accelerator: Accelerator, steps: int) -> None:
    task = make_task(accelerator, critic_steps=steps)
    seen = seen_by(task.model.critic)
    next(updates(task, 1))
    taken = {
        name: {float(entry["step"]) for entry in optimizer.state.values()}
        for name, optimizer in task.optimizers.items()
    }
    assert taken == {"critic": {steps}, "generator": {1}}
    batch = LabelledBatches(SAMPLES, steps * 6, 99, 0, True, shared=True).batch(Position(0, 0, 0))
    shown = {images.numpy().tobytes() for call in seen for images in call}
    real = {images.numpy().tobytes() for images in to_unit_range(batch["x"])}
    assert len(real) == steps * 6 and real <= shown
    # Real, synthetic and points between in every step, and the generator's images once more.
    assert len(seen) == 3 * steps + 1


def test_the_generator_moves_in_its_own_step_alone(accelerator: Accelerator) -> None:
    for still, moving in (("critic", "generator"), ("generator", "critic")):
        task = make_task(accelerator)
        for group in task.optimizers[still].param_groups:
            group["lr"] = 0.0
        before = {name: state(part) for name, part in task.model.named_children()}
        next(updates(task, 1))
        parameters = {name: dict(part.named_parameters()) for name, part in task.model.named_children()}
        assert all(torch.equal(value, before[still][key]) for key, value in parameters[still].items())
        assert not all(torch.equal(value, before[moving][key]) for key, value in parameters[moving].items())


# -- phase II


def test_the_matcher_stays_as_it_is(accelerator: Accelerator) -> None:
    matcher = tiny_gan.make_matcher().train()
    before = state(matcher)
    task = make_task(accelerator, matcher)
    modes = []
    matcher.register_forward_hook(lambda *_: modes.append(matcher.training or matcher[3].training))
    for _ in updates(task, 3):
        task.model.train()
    assert modes == [False] * 6  # real and synthetic, in every update
    assert same_weights(matcher.state_dict(), before)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in matcher.parameters())
    trained = {id(p) for optimizer in task.optimizers.values() for g in optimizer.param_groups for p in g["params"]}
    assert not trained & {id(parameter) for parameter in matcher.parameters()}


@pytest.mark.parametrize("matching", ["energy", "log_softmax", "logits"])
def test_the_matching_loss_alone_falls(accelerator: Accelerator, matching: Any) -> None:
    task = make_task(accelerator, tiny_gan.make_matcher(), gan_weight=0.0, matching=matching, lr=3e-3)
    logged = list(updates(task, 24))
    losses = [float(scalars["loss/match"]) for scalars in logged]
    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:2])
    assert {float(scalars["loss/generator"]) for scalars in logged} == {0.0}


class Same:
    """A prior that hands out the real images themselves."""

    def __init__(self, raw: Tensor) -> None:
        self.raw = raw

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        return to_unit_range(self.raw)


@pytest.mark.parametrize("matching", ["log_softmax", "logits"])
def test_real_and_synthetic_are_changed_alike(accelerator: Accelerator, matching: Any) -> None:
    """Images that are the real ones cost nothing however they are changed; changed they were."""
    batch = LabelledBatches(SAMPLES, 6, 99, 0, True, shared=True).batch(Position(0, 0, 0))
    matcher = tiny_gan.make_matcher()
    task = make_task(accelerator, matcher, Same(batch["x"]), augmentation="lesion", matching=matching, lr=0.0)
    nn.init.constant_(task.model.generator.to_mask.bias, 40.0)  # a mask of 1: s is the input
    seen: list[Tensor] = []
    matcher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    for update in range(8):
        assert float(task.update(batch, Position(0, update, update))["loss/match"]) < 1e-9
    plain = MODALITY.normalise(batch["x"])
    assert sum(not torch.allclose(real, plain, atol=1e-3) for real in seen[::2]) >= 5
    for real, made in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(real, made, atol=1e-4, rtol=0)
    assert len({real.numpy().tobytes() for real in seen[::2]}) > 4  # another change in every update


def test_matching_losses_by_hand() -> None:
    real, made = torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([[3.0, 3.0], [4.0, 2.0]])
    labels = torch.tensor([0, 0])
    assert float(matching_loss(made, real, labels, "logits")) == pytest.approx((9 + 9 + 0 + 4) / 4)
    gaps = made.double().log_softmax(-1) - real.double().log_softmax(-1)
    assert torch.equal(gaps[0], torch.zeros(2, dtype=torch.float64))  # a shift of all logits is no difference
    found = float(matching_loss(made, real, labels, "log_softmax"))
    assert found == pytest.approx(float(gaps.square().mean())) and found != pytest.approx(5.5)
    p, q = made.double().log_softmax(-1), real.double().log_softmax(-1)
    across = sum(float((a - b).norm()) for a in p for b in q) / 4
    within = float((p[0] - p[1]).norm() + (q[0] - q[1]).norm())
    assert float(matching_loss(made, real, labels, "energy")) == pytest.approx(2 * across - within, abs=1e-4)


def test_energy_compares_classes_and_wants_their_variety() -> None:
    chance = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 1, 0, 0, 1, 0, 0])  # classes of unequal size
    means = torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])[labels]

    def mean_loss(spread: float, form: Any, order: Tensor = labels) -> float:
        draws = [torch.randn(2, 8, 3, generator=chance) for _ in range(200)]
        pairs = [(means[order.argsort().argsort()] if order is not labels else means, draw) for draw in draws]
        losses = [matching_loss(m + spread * d[0], means + d[1], labels, form) for m, d in pairs]
        return float(torch.stack(losses).mean())

    assert abs(mean_loss(1.0, "energy")) < 0.1  # the same distribution
    assert mean_loss(0.0, "energy") > 0.3  # only the average of each class
    assert mean_loss(0.0, "log_softmax") < mean_loss(1.0, "log_softmax")  # which pairs would reward
    swapped = [
        matching_loss(means.flip(0) + torch.randn(8, 3, generator=chance), means, labels, "energy") for _ in range(50)
    ]
    assert float(torch.stack(swapped).mean()) > 1.0


def test_energy_has_a_gradient_where_points_meet_and_where_a_class_has_one_image() -> None:
    made = torch.zeros(3, 2, requires_grad=True)
    loss = matching_loss(made, torch.zeros(3, 2), torch.tensor([0, 0, 1]), "energy")
    loss.backward()
    assert loss.isfinite() and made.grad.isfinite().all()
    alone = matching_loss(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([1]), "energy")
    assert float(alone) == 0.0  # one image says nothing of its class's variety


# -- one global batch, however it is shared out

RUNS: dict[str, dict[str, Any]] = {
    # In later updates Adam has scaled rounding errors of the smallest gradients up.
    "phase I": {"kind": "phase I", "epochs": 1, "steps": 2},
    "phase II": {"kind": "phase II", "augmentation": "lesion", "matching": "log_softmax", "epochs": 1, "steps": 2},
    "whole classes": {"kind": "phase II", "matching": "energy", "epochs": 1, "steps": 2},
    "two steps of the critic": {"kind": "phase I", "critic_steps": 2, "epochs": 1, "steps": 2},
    "warm-up": {"kind": "warm-up"},
}


@pytest.mark.timeout(300)
def test_two_processes_are_one(accelerator: Accelerator, tmp_path: Path) -> None:
    runs = [{**run, "out": str(tmp_path / f"{name}.pt")} for name, run in RUNS.items()]
    done = run_script(TESTS / "scripts" / "train_gan_tiny.py", json.dumps(runs), processes=2, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, run in RUNS.items():
        alone = tiny_gan.train(accelerator=accelerator, **run)
        together = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert alone.keys() == together.keys()
        off = {key: float((alone[key] - together[key]).abs().max()) for key in alone}
        assert max(off.values()) <= 1e-4, (name, {key: value for key, value in off.items() if value > 1e-4})


def test_shares_of_what_is_drawn_are_one_draw(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(accelerator)
    labels = torch.arange(6) % 3
    assert from_all(labels) is labels  # alone
    whole = task._inputs(labels, torch.Generator().manual_seed(1), Position(0, 0, 0))
    monkeypatch.setattr(module, "from_all", lambda share: labels)
    shares = [
        task._inputs(part, torch.Generator().manual_seed(1), Position(0, 0, 0, rank, 3))
        for rank, part in enumerate(labels.split(2))
    ]
    for one, parts in zip(whole, zip(*shares, strict=True), strict=True):
        assert torch.equal(one, torch.cat(parts))


# -- resuming


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "phase I", "critic_steps": 2},
        {"kind": "phase II", "augmentation": "lesion"},
        {"kind": "warm-up"},
    ],
    ids=lambda options: options["kind"],
)
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    accelerator: Accelerator, tmp_path: Path, options: dict[str, Any]
) -> None:
    expected = tiny_gan.train(accelerator=accelerator, folder=tmp_path / "ganz Ü", **options)
    with interrupted(RestorationTask if options["kind"] == "warm-up" else GANTask, update=3, of=6):
        tiny_gan.train(accelerator=accelerator, folder=tmp_path / "stopped", **options)
    assert 0 < Checkpoints(tmp_path / "stopped" / "checkpoints").load()["update"] < 6
    # Whatever weights the resumed one begins with, those of the checkpoint count.
    resumed = tiny_gan.train(accelerator=accelerator, folder=tmp_path / "stopped", resume=True, seed=1, **options)
    assert same_weights(resumed, expected)
    other = {**options, "lr": 0.5}
    with pytest.raises(UserError, match="other settings or data"):
        tiny_gan.train(accelerator=accelerator, folder=tmp_path / "stopped", resume=True, **other)


def test_the_moving_average_is_what_is_kept(accelerator: Accelerator) -> None:
    weights = tiny_gan.train("phase I", accelerator)
    own = {key: value for key, value in weights.items() if not key.startswith("kept.")}
    changed = [key for key in own if "original" in key and not torch.equal(own[key], weights[f"kept.{key}"])]
    assert len(changed) > 5
    buffers = [key for key in own if key.endswith(("_u", "_v"))]
    assert len(buffers) > 5 and all(torch.equal(own[key], weights[f"kept.{key}"]) for key in buffers)


def test_phases_do_not_resume_each_other(accelerator: Accelerator, tmp_path: Path) -> None:
    tiny_gan.train("phase I", accelerator, tmp_path, epochs=1, steps=1)
    with pytest.raises(UserError, match="other settings or data"):
        tiny_gan.train("phase II", accelerator, tmp_path, resume=True, epochs=1, steps=1)


# -- the task


def test_previews_are_two_rows_a_class(accelerator: Accelerator) -> None:
    task = make_task(accelerator)
    pictures = task.preview(task.model.eval())
    assert {name: (x.shape, x.dtype) for name, x in pictures.items()} == {"generated": ((6 * 32, 4 * 32, 3), np.uint8)}
    assert task.validate(task.model) == task.describe() == {}


def test_settings_that_cannot_be_are_refused() -> None:
    two = SimpleNamespace(num_processes=2, device=torch.device("cpu"))
    with pytest.raises(UserError, match=r"^The batch size \(5\) must be a multiple of the processes \(2\)\.$"):
        make_task(two, batch_size=5)
    with pytest.raises(UserError, match=r"at least 1, got 0\.$"):
        GANConfig(batch_size=0)
    with pytest.raises(UserError, match=r"log_softmax.*not 'cosine'\.$"):
        GANConfig(matching="cosine")  # type: ignore[arg-type]


@pytest.mark.parametrize("still", ["generator", "critic"])
def test_each_half_of_a_gan_of_grey_images_learns_while_the_other_stands_still(
    accelerator: Accelerator, still: str
) -> None:
    """The critic learns to score real images above synthetic ones, and the generator to close that gap."""
    torch.manual_seed(0)
    gan = GAN(AttentionGenerator(32, 1, 3, 8, 1), Critic(32, 1, 3, 8))
    values, labels = torch.from_numpy(SAMPLES.values[:6, :1]), torch.from_numpy(SAMPLES.labels[:6])
    config = GANConfig(batch_size=6, lr=1e-3, critic_lr=1e-3)
    task = GANTask(gan, RealImages(values, labels), config, Run(accelerator), MODALITY)
    for group in task.optimizers[still].param_groups:
        group["lr"] = 0.0
    logged = [task.update({"x": values, "label": labels}, Position(0, u, u)) for u in range(20)]
    assert all(value.isfinite() for scalars in logged for value in scalars.values())
    (gap, loss), (last_gap, last_loss) = (
        (float(scalars["critic_gap"]), float(scalars["loss/critic" if still == "generator" else "loss/generator"]))
        for scalars in (logged[0], logged[-1])
    )
    if still == "generator":
        assert last_gap > gap + 2 and last_loss < loss - 2
    else:
        assert last_gap < gap - 0.2 and last_loss < loss - 0.2
