"""The denoising task: what an update draws, that it is the same however it is shared out, and what is watched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from small import run as run_script
from torch import Tensor
from train_tiny import Disturbed

from mmgen.models.denoising_layers import TOLD
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.training.augmentation import draw, told
from mmgen.training.batches import LABEL, PairedBatches
from mmgen.training.denoising import DenoisingConfig, DenoisingTask
from mmgen.training.engine import make_accelerator
from mmgen.training.loop import Interrupted, LoopConfig, NonFiniteLoss, Position
from mmgen.training.mae import train_mae
from mmgen.training.memorisation import COPY_RATIO, Memorisation, copied_share, watch
from mmgen.training.run import Run

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "train_tiny.py"
DENOISE = {"decoder": "denoise"}
CHANGED = {"image": "radiograph", "audio": "spectrogram"}


@pytest.fixture
def accelerator():
    return make_accelerator("no")


def task_of(accelerator, **options: Any) -> DenoisingTask:
    task = tiny.make_task(accelerator, 16, model=DENOISE, **{"augmentation": CHANGED, **options})
    assert isinstance(task, DenoisingTask)
    return task


def drawn(task: DenoisingTask, count: int = 40) -> list[tuple[dict[str, float], dict[str, Any]]]:
    batches = PairedBatches(tiny.make_samples(), 16, seed=0)
    positions = [Position(u // batches.steps_per_epoch, u % batches.steps_per_epoch, u) for u in range(count)]
    return [task.arguments(batches.batch(position), position)[1:] for position in positions]


def test_a_share_of_the_updates_is_the_masked_autoencoder(accelerator) -> None:
    task = task_of(accelerator, plain_share=0.25)
    plain = [each for _, each in drawn(task, 200) if not each["times"]["image"].any()]
    assert 30 < len(plain) < 70
    assert all(not each["times"]["audio"].any() for each in plain)
    assert all(each["times"]["image"].any() for _, each in drawn(task_of(accelerator, plain_share=0.0)))
    assert not any(each["times"]["image"].any() for _, each in drawn(task_of(accelerator, plain_share=1.0)))


def test_every_modality_has_a_time_of_its_own(accelerator) -> None:
    noised = [each["times"] for _, each in drawn(task_of(accelerator, plain_share=0.0))]
    image, audio = (torch.cat([times[name] for times in noised]) for name in ("image", "audio"))
    assert abs(float(torch.corrcoef(torch.stack([image, audio]))[0, 1])) < 0.1
    assert 0 <= float(image.min()) < 0.2 and 0.8 < float(image.max()) < 1
    early = task_of(accelerator, plain_share=0.0, time_mean=-3.0)
    assert torch.cat([each["times"]["image"] for _, each in drawn(early)]).mean() < 0.15


def test_labels_are_dropped_now_and_then(accelerator) -> None:
    def dropped(**options: Any) -> float:
        task = task_of(accelerator, **options)
        return float(torch.cat([each["labels"] == 2 for _, each in drawn(task)]).float().mean())

    assert dropped(label_dropout=0.0, plain_share=0.0) == 0.0
    assert 0.2 < dropped(label_dropout=0.3, plain_share=0.0) < 0.4
    assert 0.4 < dropped(plain_share=1.0) < 0.6, "a masked autoencoder is used without labels"


def test_all_is_hidden_or_one_is_made_from_most_of_the_others(accelerator) -> None:
    ratios = [ratios for ratios, _ in drawn(task_of(accelerator, plain_share=0.0, alone_share=0.5), 100)]
    alone = [set(one.values()) == {1.0} for one in ratios]
    assert 30 < sum(alone) < 70
    others = [one for one, is_alone in zip(ratios, alone, strict=True) if not is_alone]
    assert {name for one in others for name, ratio in one.items() if ratio == 1.0} == {"image", "audio"}
    assert all(min(one.values()) <= 0.5 for one in others)


def test_samples_are_changed_and_told_so(accelerator) -> None:
    batches = PairedBatches(tiny.make_samples(), 16, seed=0)
    batch = batches.batch(Position(0, 0, 0))
    inputs, _, each = task_of(accelerator).arguments(batch, Position(0, 0, 0))
    for name in CHANGED:
        same = [torch.allclose(a, b.float(), atol=1e-3) for a, b in zip(inputs[name], batch[name], strict=True)]
        unchanged = (each["augmentation"][name] == 0).all(1)
        assert 0 < unchanged.sum() < 16 and all(same[row] for row in unchanged.nonzero()[:, 0])
        assert not all(same) and each["augmentation"][name].shape == (16, TOLD)
    plain, _, each = task_of(accelerator, augmentation={}).arguments(batch, Position(0, 0, 0))
    assert torch.allclose(plain["image"], batch["image"].float(), atol=1e-3)
    assert not each["augmentation"]["image"].any()


def test_silence_stays_silent_however_loud_a_sample_is_made(accelerator) -> None:
    task = task_of(accelerator)
    x = torch.full((task.config.batch_size, *tiny.AUDIO.shape), -11.5)
    x[:, :, :, 4:9] = 0.0
    changed, told_ = task._changed("audio", x, torch.Generator().manual_seed(0), slice(0, len(x)))
    assert (told_ != 0).any() and (changed > -11.5).any()
    assert ((changed == -11.5) | (changed > -2.0)).all()


def test_a_chest_is_never_mirrored_and_nothing_is_cut_out() -> None:
    parameters = draw("radiograph", torch.Generator().manual_seed(0), 500, torch.ones(500), compose=True, hide=False)
    assert (torch.linalg.det(parameters.matrix) > 0).all() and (parameters.matrix[:, 0, 0] > 0).all()
    sound = draw("spectrogram", torch.Generator().manual_seed(0), 500, torch.ones(500), compose=True, hide=False)
    assert not sound.hole[:, 2:].any() and not sound.shift[:, 0].any(), "a sound keeps its pitch"
    assert torch.equal(told(sound).bool().any(1), torch.ones(500, dtype=torch.bool))
    assert not told(draw("none", torch.Generator().manual_seed(0), 3, compose=True)).any()


def test_shares_of_two_processes_are_one_draw(accelerator) -> None:
    task, batches = task_of(accelerator), PairedBatches(tiny.make_samples(), 16, seed=0)
    for update in range(3):
        whole = Position(0, 0, update)
        parts = [Position(0, 0, update, rank, 2) for rank in (0, 1)]
        one = task.arguments(batches.batch(whole), whole)
        two = [task.arguments(batches.batch(part), part) for part in parts]
        assert one[1] == two[0][1] == two[1][1]
        for key, value in one[2].items():
            for name in value if isinstance(value, dict) else [None]:
                pieces = [part[2][key] if name is None else part[2][key][name] for part in two]
                assert torch.equal(torch.cat(pieces), value if name is None else value[name])


@pytest.mark.timeout(300)
def test_two_processes_are_one(accelerator, tmp_path) -> None:
    options: dict[str, Any] = {"task": {"model": DENOISE, "lr": 1e-3}, "loop": {"ema_share": 0.2, "epochs": 2}}
    done = run_script(SCRIPT, json.dumps([{**options, "batch_size": 8, "out": str(tmp_path / "two.pt")}]), processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = tiny.make_loop(accelerator, batch_size=8, **options).train().state_dict()
    tiny.assert_same_training(torch.load(tmp_path / "two.pt", weights_only=True), alone, 1e-4)


def test_a_resumed_training_is_exact(accelerator, tmp_path) -> None:
    options = {"task": {"model": DENOISE}, "loop": {"ema_share": 0.2, "epochs": 2}}
    whole = tiny.make_loop(accelerator, **options).train().state_dict()
    stop = {"update": 3, "kind": "SIGTERM"}
    with pytest.raises(Interrupted):
        tiny.make_loop(accelerator, tmp_path, wrap=lambda batches: Disturbed(batches, **stop), **options).train()
    again = tiny.make_loop(accelerator, tmp_path, resume=True, **options).train().state_dict()
    assert tiny.same_weights(whole, again)


def test_a_time_that_is_no_number_ends_the_training_and_good_weights_stay(accelerator, tmp_path, monkeypatch) -> None:
    loop = tiny.make_loop(accelerator, tmp_path, task={"model": DENOISE, "validate": True}, loop={"validate_every": 1})
    arguments = DenoisingTask.arguments

    def broken(self, batch, position):
        inputs, ratios, each = arguments(self, batch, position)
        if position.update == 6:
            each["times"] = {name: torch.full_like(t, torch.nan) for name, t in each["times"].items()}
        return inputs, ratios, each

    monkeypatch.setattr(DenoisingTask, "arguments", broken)
    with pytest.raises(NonFiniteLoss, match="last good checkpoint"):
        loop.train()
    kept = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)
    assert all(torch.isfinite(x).all() for x in kept.values() if x.is_floating_point())


# -- memory


def parted() -> tuple[dict[str, Any], dict[str, Any]]:
    return tiny.make_samples(), tiny.make_samples(seed=1)


class Remembering(DenoisingMAE):
    """Draws its training records, with a little noise on them."""

    remembered: dict[str, Tensor]
    noise = 0.01

    def sample(self, labels: Tensor, *args: Any, **options: Any) -> dict[str, Tensor]:
        generator, made = torch.Generator().manual_seed(0), {}
        for name, modality in self.modalities.items():
            x = modality.normalise(self.remembered[name][torch.arange(len(labels)) % len(self.remembered[name])])
            made[name] = modality.denormalise(x + 0.01 * torch.randn(x.shape, generator=generator))
        return made


def test_copies_are_told_from_samples_of_the_same_kind() -> None:
    train, held_out = parted()
    for name in ("image", "audio"):
        modality = tiny.MODALITIES[name]
        others = torch.from_numpy(held_out[name].values)
        assert copied_share(modality, others, train[name]) == 0.0
        copies = torch.from_numpy(train[name].values).float() + 0.01
        assert copied_share(modality, copies, train[name]) == 1.0
        # Two segments of one recording are no two records: a copy of one is as near to the other.
        twice = train[name].select(np.repeat(np.arange(len(train[name])), 2))
        assert copied_share(modality, copies, twice) == 1.0
    assert copied_share(modality, copies, train[name].select([0])) == 0.0
    assert pytest.approx(1 / 3) == COPY_RATIO


def test_a_model_that_remembers_is_found_and_one_that_has_not_begun_is_not() -> None:
    train, held_out = parted()
    model = tiny.make_model(decoder="denoise").eval()
    innocent = watch(model, train, held_out)
    assert innocent.reason == "" and set(innocent.copies) == {"image", "audio"}
    model.__class__ = Remembering
    model.remembered = {name: torch.from_numpy(samples.values) for name, samples in train.items()}
    assert "samples of image, audio are copies" in watch(model, train, held_out).reason
    better = replace(innocent, membership={"image": 0.9}, deviations={"image": 4.0})
    assert better.reason == "training records of image are denoised better than held-out ones"


def test_the_training_of_a_model_that_remembers_is_ended_and_the_last_good_weights_are_kept(
    accelerator, monkeypatch, caplog, tmp_path
) -> None:
    train, held_out = parted()
    found = iter([Memorisation(), Memorisation(), *[Memorisation(copies={"image": 0.5}, innocent={"image": 0.0})] * 9])
    kept: list[dict[str, Tensor]] = []

    def looked(model, *_: Any) -> Memorisation:
        kept.append({key: value.clone() for key, value in model.state_dict().items()})
        return next(found)

    monkeypatch.setattr("mmgen.training.denoising.watch", looked)
    config = DenoisingConfig(4, lr=1e-3)
    run, loop = Run(accelerator, tmp_path), LoopConfig(epochs=10, validate_every=1, ema_share=0.2)
    model = tiny.make_model(decoder="denoise")
    trained = train_mae(model, {"train": train, "val": held_out}, config, loop, run)
    assert 3 <= len(kept) < 10, "it did not go on to the end"
    assert tiny.same_weights(trained.state_dict(), kept[1])
    assert "samples of image are copies of training records" in caplog.text and "--epochs" in caplog.text


def test_previews_show_samples_from_nothing_and_from_the_other(accelerator) -> None:
    task = task_of(accelerator, validate=True)
    pictures = task.preview(task.model.eval())
    assert pictures.keys() == {
        "image", "audio", "image_from_nothing", "audio_from_nothing", "image_from_others", "audio_from_others"
    }  # fmt: skip
    assert pictures["image_from_nothing"].shape == (2 * 16, 6 * 16)
    assert LABEL not in tiny.MODALITIES
