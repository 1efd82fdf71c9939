from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from small import run as run_script
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.training.batches import PairedBatches
from mmgen.training.loop import LoopConfig, Position
from mmgen.training.mae import MAEConfig, MAETask, train_mae
from mmgen.training.run import Run, read_metrics

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "train_tiny.py"


def updates(task: MAETask, count: int = 5):
    """Carry out the first updates of the tiny data on a task, yielding what each gives to log."""
    batches = PairedBatches(tiny.make_samples(list(task.model.modalities)), task.config.batch_size, seed=0)
    for update in range(count):
        position = Position(update // batches.steps_per_epoch, update % batches.steps_per_epoch, update)
        yield task.update(batches.batch(position), position)


def scale_loss(model: CrossModalMAE, name: str, factor: float) -> None:
    model.register_forward_hook(lambda _, __, losses: {**losses, name: factor * losses[name]})


def adam_state(task: MAETask, optimizer: str, parameters: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """State of one optimiser by the parameters' names."""
    state = task.optimizers[optimizer].state
    return {name: state[parameter] for name, parameter in parameters.items() if parameter in state}


def equal_states(a: dict[str, dict[str, Tensor]], b: dict[str, dict[str, Tensor]]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[p][key], b[p][key]) for p in a for key in a[p])


# -- decoupled losses


@pytest.mark.parametrize("coupling", ["decoupled", "joint"])
def test_scale_of_one_loss_and_the_updates_of_the_other(accelerator, coupling):
    """Under decoupled, the other's Adam state and own decoder stay equal to the bit; under joint they do not.

    Both models start each update from the same weights, because the scaled loss's own steps on shared weights agree
    only up to Adam's epsilon and to clipping.
    """
    plain, scaled = (tiny.make_task(accelerator, loss_coupling=coupling, lr=1e-2) for _ in range(2))
    scale_loss(scaled.model, "image", 1000.0)
    optimizer = "audio" if coupling == "decoupled" else "joint"
    unchanged = []
    for _ in zip(updates(plain), updates(scaled), strict=True):
        states = [adam_state(task, optimizer, task.model.parameters_of_loss("audio")) for task in (plain, scaled)]
        assert len(states[0]) > 20
        decoders = [task.model.decoders["audio"].state_dict() for task in (plain, scaled)]
        unchanged.append(equal_states(*states) and tiny.same_weights(*decoders))
        scaled.model.load_state_dict(plain.model.state_dict())
    assert unchanged == [coupling == "decoupled"] * 5


@pytest.mark.parametrize("coupling", ["decoupled", "joint"])
def test_with_closed_gates_a_scaled_loss_leaves_the_other_half_alone_for_good(accelerator, coupling):
    """Without fusion nothing is shared, and several updates in a row agree to the bit under decoupled."""
    tasks = []
    for factor in (1.0, 1000.0):
        model = tiny.make_model()
        for name, parameter in model.fusion.named_parameters():
            parameter.requires_grad_(False)
            if name.endswith("xi"):
                parameter.zero_()
        tasks.append(MAETask(model, MAEConfig(4, loss_coupling=coupling, lr=1e-2), Run(accelerator)))
        scale_loss(model, "image", factor)
        list(updates(tasks[-1], count=6))
    halves = [
        {key: value for key, value in task.model.state_dict().items() if ".audio." in key and "fusion" not in key}
        for task in tasks
    ]
    assert len(halves[0]) > 40
    assert tiny.same_weights(*halves) is (coupling == "decoupled")


def test_decoupled_losses_each_have_an_optimiser_and_a_norm(accelerator):
    task = tiny.make_task(accelerator)
    assert list(task.optimizers) == ["image", "audio"]
    logged = next(updates(task))
    assert logged.keys() == {"loss/image", "loss/audio", "gradient_norm/image", "gradient_norm/audio"}
    joint = tiny.make_task(accelerator, loss_coupling="joint")
    assert list(joint.optimizers) == ["joint"]
    assert next(updates(joint)).keys() == {"loss/image", "loss/audio", "gradient_norm/joint"}


def test_couplings_are_the_same_for_one_modality(accelerator):
    states = []
    for coupling in ("decoupled", "joint"):
        task = tiny.make_task(accelerator, names=["image"], loss_coupling=coupling)
        list(updates(task))
        states.append(task.model.state_dict())
    assert tiny.same_weights(*states)


# -- one global batch, however it is shared out


@pytest.mark.parametrize("coupling", ["decoupled", "joint"])
def test_accumulating_parts_is_the_whole_batch(accelerator, coupling):
    tasks = [tiny.make_task(accelerator, loss_coupling=coupling, accumulate=parts) for parts in (1, 2, 4)]
    logged = [list(updates(task)) for task in tasks]
    for task, values in zip(tasks[1:], logged[1:], strict=True):
        for part, whole in zip(values, logged[0], strict=True):
            torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)
        tiny.assert_same_training(task.model.state_dict(), tasks[0].model.state_dict())


@pytest.mark.timeout(300)
def test_two_processes_are_one(accelerator, tmp_path):
    """Same weights after a whole training; and trouble in one process is trouble in both."""
    options: dict[str, dict[str, Any]] = {
        "decoupled": {"task": {"whole_mask_share": 0.5}},
        "joint": {"task": {"loss_coupling": "joint"}},
        "parts": {"task": {"accumulate": 2}, "loop": {"ema_decay": 0.8}},
    }
    runs = [{**run, "batch_size": 8, "out": str(tmp_path / f"{name}.pt")} for name, run in options.items()]
    runs[0]["folder"] = str(tmp_path / "run")
    broken = {"nan": {"update": 4, "rank": 1, "kind": "nan"}, "stop": {"update": 4, "rank": 1, "kind": "SIGTERM"}}
    runs += [
        {"out": str(tmp_path / name), "folder": str(tmp_path / f"{name}-run"), "batch_size": 8, "disturb": disturb}
        for name, disturb in broken.items()
    ]
    done = run_script(SCRIPT, json.dumps(runs), processes=2, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, run in options.items():
        alone = tiny.make_loop(accelerator, batch_size=8, **run).train().state_dict()
        tiny.assert_same_training(torch.load(tmp_path / f"{name}.pt", weights_only=True), alone)
    assert [row["epoch"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2, 3]
    for rank in range(2):
        assert (tmp_path / f"nan.{rank}").read_text().startswith("NonFiniteLoss")
        assert (tmp_path / f"stop.{rank}").read_text().startswith("Interrupted")
    assert (tmp_path / "stop-run" / "checkpoints" / "last.pt").is_file()


def test_shares_of_the_noise_are_one_draw(accelerator):
    task = tiny.make_task(accelerator, batch_size=6)
    whole = task.noise(Position(0, 0, 5))
    shares = [task.noise(Position(0, 0, 5, rank, 3)) for rank in range(3)]
    for name, noise in whole.items():
        assert torch.equal(torch.cat([share[name] for share in shares]), noise)
        assert not torch.equal(noise, task.noise(Position(0, 0, 6))[name])


def test_a_batch_that_cannot_be_shared_out_is_refused(accelerator):
    with pytest.raises(UserError, match=r"batch size \(4\) must be a multiple of processes x accumulation steps \(3\)"):
        tiny.make_task(accelerator, batch_size=4, accumulate=3)


# -- the task


def test_one_modality_is_hidden_whole_now_and_then(accelerator):
    task = tiny.make_task(accelerator, whole_mask_share=0.3, mask_ratio=0.5)
    ratios = [task.mask_ratios(Position(0, 0, update)) for update in range(1000)]
    whole = {name: np.mean([r[name] == 1.0 for r in ratios]) for name in ("image", "audio")}
    assert sum(whole.values()) == pytest.approx(0.3, abs=0.05)
    assert min(whole.values()) > 0.1
    assert all(max(list(r.values()).count(1.0), 1) == 1 for r in ratios)
    assert {value for r in ratios for value in r.values()} == {0.5, 1.0}
    assert ratios[7] == task.mask_ratios(Position(3, 1, 7, rank=1, world=2))


@pytest.mark.parametrize("options", [{"names": ["image"]}, {"model": {"fusion_query": "other"}}])
def test_nothing_is_hidden_whole_where_it_cannot_be(accelerator, options):
    task = tiny.make_task(accelerator, whole_mask_share=1.0, **options)
    assert set(task.mask_ratios(Position(0, 0, 0)).values()) == {0.75}
    assert all(torch.isfinite(value) for value in next(updates(task)).values())


def test_validation_stands_beside_the_mean_patch(accelerator):
    measures = tiny.make_task(accelerator, validate=True)
    found = measures.validate(measures.model.eval())
    for name in ("image", "audio"):
        assert found[f"of_mean_patch/{name}"] == pytest.approx(found[f"error/{name}"] / measures.baseline[name])
    assert found["score"] == pytest.approx((found["of_mean_patch/image"] + found["of_mean_patch/audio"]) / 2)
    without = tiny.make_task(accelerator)
    assert (without.validate(without.model), without.preview(without.model)) == ({}, {})


def test_previews_are_original_visible_and_decoded(accelerator):
    task = tiny.make_task(accelerator, validate=True)
    pictures = task.preview(task.model.eval())
    assert {name: (x.shape, x.dtype) for name, x in pictures.items()} == {
        "image": ((6 * 16, 3 * 16), np.uint8),
        "audio": ((6 * 10, 3 * 14), np.uint8),
    }
    original, visible, made = np.split(pictures["image"], 3, axis=1)
    samples = tiny.make_samples(seed=1)["image"].values
    assert np.array_equal(original[:16], samples[0, 0])
    hidden = visible == 128
    assert 0.7 < hidden.mean() < 0.8
    assert np.array_equal(visible[~hidden], original[~hidden])
    assert not np.array_equal(made, original)


def test_gates_are_described(accelerator):
    task = tiny.make_task(accelerator)
    assert task.describe() == {"xi": {"image": [0.0, 1.0], "audio": [0.0, 1.0]}}
    list(updates(task))
    assert task.describe()["xi"]["image"] != [0.0, 1.0]
    assert json.loads(json.dumps(task.describe())) == task.describe()


def test_three_modalities_train_to_a_lower_error(accelerator, tmp_path):
    names = ("image", "audio", "breath")
    splits = {split: tiny.make_samples(names, seed) for seed, split in enumerate(("train", "val"))}
    trained = train_mae(
        tiny.make_model(names),
        splits,
        MAEConfig(batch_size=8, lr=1e-2, mask_ratio=0.5),
        LoopConfig(epochs=40, validate_every=20),
        Run(accelerator, tmp_path),
    )
    assert not trained.training
    rows = read_metrics(tmp_path / "metrics.jsonl")
    for name in names:
        assert rows[-1][f"loss/{name}"] < 0.6 * rows[0][f"loss/{name}"]
        assert rows[-1][f"validation/of_mean_patch/{name}"] < 0.9
    assert (tmp_path / "checkpoints" / "best.pt").is_file()


def test_a_model_worse_than_the_mean_patch_is_said_to_be(accelerator, caplog):
    splits = {split: tiny.make_samples(seed=seed) for seed, split in enumerate(("train", "val"))}
    train_mae(tiny.make_model(), splits, MAEConfig(4, lr=1e-9), LoopConfig(epochs=1), Run(accelerator))
    assert [record.message.partition(":")[0] for record in caplog.records] == ["image", "audio"]
    assert "does not beat predicting the mean patch" in caplog.text


def test_a_run_is_resumed_with_the_same_model_settings_and_data_only(accelerator, tmp_path):
    splits = {split: tiny.make_samples(seed=seed) for seed, split in enumerate(("train", "val"))}

    def train(resume: bool, model_seed: int = 0, lr: float = 1e-3, epochs: int = 1, data: str = "a", **options) -> None:
        model = tiny.make_model(seed=model_seed, **options)
        marks = {"image": data, "audio": "x"}
        loop, config = LoopConfig(epochs), MAEConfig(4, lr=lr)
        train_mae(model, splits, config, loop, Run(accelerator, tmp_path, resume), marks)

    train(resume=False)
    train(resume=True, model_seed=7)  # initial weights are replaced
    for other in ({"lr": 1e-2}, {"epochs": 2}, {"data": "b"}, {"visible_weight": 0.5}):
        with pytest.raises(UserError, match="other settings or data"):
            train(resume=True, **other)
