"""The comparison of methods: which rows there are, that a stopped run goes on, and that nothing else is mixed in."""

from __future__ import annotations

import json
import logging
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small import PROJECT
from tiny_medsynth import TINY

from mmgen import presets
from mmgen.artifacts.models import load_model
from mmgen.condensation import dcgan, dm, medsynth, methods, subset
from mmgen.condensation.condenser import Condenser
from mmgen.condensation.medsynth import MedSynth
from mmgen.condensation.subset import FeatureConfig
from mmgen.data.samples import Samples
from mmgen.data.writing.unfinished import alone_in
from mmgen.errors import UserError
from mmgen.evaluation.utility import UtilityConfig
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.stored import StoredImages

LABELS = ("MildDemented", "ModerateDemented", "NonDemented", "VeryMildDemented")
TRAIN, TEST = 6, 3
VARYING = {"seconds", "fit_seconds"}


@dataclass(frozen=True)
class Config:
    """Settings of a method that learns nothing."""

    images_per_class: int = 10
    augmentation: str = "none"
    width: int = 1


class Darkened(Condenser):
    """Stores the first images of each class, darkened."""

    method, presets, stages, fits_one_size = "dm", dm.PRESETS, ("match",), True

    def fit(self) -> Darkened:
        FITTED[self.run.folder.name] += 1
        rows = [np.flatnonzero(self.train.labels == label)[: self.config.images_per_class] for label in range(4)]
        rows = np.concatenate(rows)
        stored = StoredImages.build(self.train.values[rows] // 2, self.train.labels[rows], self.train.label_names, "dm")
        self.made = stored
        return self

    @property
    def model(self) -> StoredImages:
        return self.made


class Untrained(Condenser):
    """A generator as it begins."""

    method, presets, stages = "dcgan", dcgan.PRESETS, ("gan",)

    def fit(self) -> Untrained:
        FITTED[self.run.folder.name] += 1
        torch.manual_seed(0)
        self.made = ConditionalGenerator(32, 3, self.train.label_names, "dcgan", noise=16, width=2).eval()
        return self

    @property
    def model(self) -> ConditionalGenerator:
        return self.made


FITTED: Counter[str] = Counter()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noise for each split and label."""
    root, rng = tmp_path_factory.mktemp("noisy images"), np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", 2), ("test", TEST)):
        for number, label in enumerate(LABELS):
            folder = root / split / label
            folder.mkdir(parents=True)
            for name in range(count):
                pixels = (60 * number + rng.integers(0, 70, (32, 32, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}.png")
    return root


@pytest.fixture
def table1(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with the smallest settings, and methods that learn nothing."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")  # as where a script is started
    import table1

    FITTED.clear()
    scale = presets.Scale(32, (2,), UtilityConfig(updates=2, batch_size=10, seeds=1, max_side=32))
    monkeypatch.setitem(presets.SCALES, "quick", scale)
    for module, kind in ((dm, Darkened), (dcgan, Untrained)):
        monkeypatch.setitem(module.PRESETS, "quick", Config())
        monkeypatch.setitem(methods.METHODS, kind.method, kind)
    monkeypatch.setitem(medsynth.PRESETS, "quick", TINY)
    features = FeatureConfig(width=4, updates=10, batch_size=4)
    monkeypatch.setitem(subset.PRESETS, "quick", subset.SubsetConfig(features=features))
    return table1


@dataclass
class Trainings:
    """Stands in for the training of classifiers: scores that tell training sets apart."""

    stop_at: int = 0

    def __post_init__(self) -> None:
        self.calls: list[tuple[str, int, int, int]] = []

    def __call__(
        self, modality: Any, train: Samples, test: Samples, how: Any, accelerator: Any, seed: int, backbone: Any
    ) -> dict[str, float]:
        if len(self.calls) + 1 == self.stop_at:
            raise RuntimeError("killed")
        assert (len(test), how.balance, how.augmentation) == (4 * TEST, "sampling", {"image": "lesion"})
        assert how.labels == "hard" or train.probabilities.shape == (len(train), 4)
        digest = zlib.crc32(train.values[:].tobytes())
        self.calls.append((how.classifier, seed, len(train), digest))
        return {"auc": digest % 1000 / 1000, "accuracy": seed / 10, "balanced_accuracy": 0.5}


@pytest.fixture
def run(
    table1: ModuleType, images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, accelerator: Any
) -> Callable[..., tuple[list[dict[str, Any]], Trainings]]:
    """Run the script in a folder: its rows, and the trainings that it asked for."""

    def call(out: str = "out", stop_at: int = 0, **flags: Any) -> tuple[list[dict[str, Any]], Trainings]:
        trainings = Trainings(stop_at)
        monkeypatch.setattr(table1, "train_and_test", trainings)
        monkeypatch.setattr(table1, "make_accelerator", lambda precision: accelerator)
        given = {"data": images, "budget": "quick", "methods": ("dm", "dcgan"), "ipc": (2, 3), "seeds": 2}
        given |= {"classifiers": ("convnet", "resnet18"), "targets": ("hard",), "updates": 2, **flags}
        try:
            table1.measure(table1.Table1(out=tmp_path / out, **given))
        except RuntimeError as error:
            assert str(error) == "killed"
        rows = (tmp_path / out / "rows.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(row) for row in rows], trainings

    return call


def alike(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what differs from run to run."""
    return [{key: value for key, value in row.items() if key not in VARYING} for row in rows]


def test_there_is_a_row_of_every_set_classifier_and_seed(run: Callable[..., Any]) -> None:
    rows, trainings = run()
    sets = {("full", None, False), ("random", 2, False), ("random", 3, False), ("dm", 2, False), ("dm", 3, False)}
    sets |= {("dcgan", 2, False), ("dcgan", 3, False), ("dcgan", None, True)}
    keys = {(row["method"], row["ipc"], row["fresh"], row["classifier"], row["seed"]) for row in rows}
    assert keys == {(*of, name, seed) for of in sets for name in ("convnet", "resnet18") for seed in (0, 1)}
    assert len(rows) == len(keys) == len(trainings.calls)
    assert FITTED == {"dm_ipc2": 1, "dm_ipc3": 1, "dcgan": 1}
    for row in rows:
        whole = row["method"] == "full" or row["fresh"]
        assert row["n_train"] == (4 * TRAIN if whole else 4 * row["ipc"])
        assert row["condensation_ratio"] == row["n_train"] / row["n_real"] and row["n_real"] == 4 * TRAIN
        assert (row["fit_seconds"] is None) == (row["method"] in ("full", "random"))
        assert row["accuracy"] == row["seed"] / 10
        assert (row["labels"], row["budget"], row["image_size"]) == (list(LABELS), "quick", 32)
    # What is cheap, and what the rest is compared with, comes first.
    assert [row["method"] for row in rows[:12]] == [*["full"] * 2, *["random"] * 4] * 2
    assert [row["classifier"] for row in rows[:12]] == ["convnet"] * 6 + ["resnet18"] * 6


def test_sets_are_drawn_by_seed_and_shown_to_all_classifiers_alike(run: Callable[..., Any]) -> None:
    rows, _ = run()
    shown: dict[tuple[Any, ...], dict[int, set[float]]] = {}
    for row in rows:
        of_seed = shown.setdefault((row["method"], row["ipc"], row["fresh"]), {})
        of_seed.setdefault(row["seed"], set()).add(row["auc"])  # tells training sets apart
    for (method, *_), of_seed in shown.items():
        assert all(len(found) == 1 for found in of_seed.values())
        assert (of_seed[0] == of_seed[1]) == (method in ("full", "dm"))


def test_a_killed_run_goes_on_without_doing_anything_twice(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run("whole")
    FITTED.clear()
    first, before = run("killed", stop_at=15)
    assert len(first) == 14 and alike(first) == alike(whole[:14])
    with monkeypatch.context() as patch:

        def fit(self: Untrained) -> None:
            raise RuntimeError("killed")

        patch.setattr(Untrained, "fit", fit)
        second, between = run("killed")
    last, after = run("killed")
    assert len(second) == 20  # all before the fit that was killed
    assert alike(last) == alike(whole)
    assert len(before.calls) + len(between.calls) + len(after.calls) == len(whole)
    assert FITTED == {"dm_ipc2": 1, "dm_ipc3": 1, "dcgan": 1}
    assert run("killed")[1].calls == []


def test_more_of_everything_adds_only_what_is_missing(run: Callable[..., Any]) -> None:
    few, _ = run(methods=("dm",), ipc=(2,), seeds=1, classifiers=("resnet18",))
    more, trainings = run()
    assert more[: len(few)] == few and len(trainings.calls) == len(more) - len(few) == 29
    assert FITTED["dm_ipc2"] == 1
    # The table is of all that was ever asked for.
    again, nothing = run(methods=("dm",), ipc=(2,), seeds=1)
    assert again == more and not nothing.calls


def test_a_line_that_was_cut_off_is_measured_again(run: Callable[..., Any], tmp_path: Path) -> None:
    whole, _ = run()
    file = tmp_path / "out" / "rows.jsonl"
    content = file.read_bytes()
    for cut in (content[:-1], content[:-40], content + b'{"method": "d'):
        file.write_bytes(cut)
        rows, trainings = run()
        assert alike(rows) == alike(whole)
        assert len(trainings.calls) == (cut == content[:-40])
    file.write_bytes(content.replace(b'"seed": 1', b'"seed" 1', 1))
    with pytest.raises(UserError, match=r"Line 2 of .* is damaged; remove it"):
        run()


def test_rows_of_other_settings_are_not_mixed_in(run: Callable[..., Any], tmp_path: Path, images: Path) -> None:
    run(methods=("dm",), ipc=(2,), seeds=1)
    before = (tmp_path / "out" / "rows.jsonl").read_bytes()
    other = tmp_path / "other"
    for label in LABELS:  # one file fewer
        for split, count in (("train", TRAIN), ("val", 2), ("test", TEST - 1)):
            (other / split / label).mkdir(parents=True)
            for name in range(count):
                (other / split / label / f"{name}.png").write_bytes(
                    (images / split / label / f"{name}.png").read_bytes()
                )
    for flags, words in (
        ({"image_size": 48}, r"image_size \(32, now 48\)"),
        ({"augmentation": "none"}, r"augmentation \(lesion, now none\)"),
        ({"seed": 1}, r"seed \(0, now 1\)"),
        ({"data": other}, r"data_fingerprint \("),
    ):
        with pytest.raises(UserError, match=words) as refused:
            run(methods=("dm",), ipc=(2,), seeds=1, **flags)
        assert "choose another --out" in str(refused.value) and "\n" not in str(refused.value)
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == before


def test_every_set_is_also_learnt_by_the_labels_of_one_teacher(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import table1_training

    taught = []

    def teacher(modality: Any, train: Samples, config: Any, stage: Any, backbone: Any) -> torch.nn.Module:
        taught.append((len(train), config.classifier, stage.folder.name, backbone))
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4))

    monkeypatch.setattr(table1_training, "trained_classifier", teacher)
    rows, trainings = run(methods=("dm",), ipc=(2,), seeds=1, targets=("soft", "hard"), classifiers=("convnet",))
    assert [(row["method"], row["targets"]) for row in rows] == [
        (method, targets) for targets in ("hard", "soft") for method in ("full", "random")
    ] + [("dm", "hard"), ("dm", "soft")]
    assert taught == [(4 * TRAIN, "convnet", "teacher", None)]  # the training part alone, once
    # The same images, whatever is learnt of them.
    assert trainings.calls[0] == trainings.calls[2] and trainings.calls[4] == trainings.calls[5]


def test_classifiers_learn_as_long_as_it_helps_on_all_real_images(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmgen.evaluation import plateau

    tried, scores = [], {2: 0.6, 4: 0.7, 8: 0.702}

    def score(modality: Any, train: Samples, test: Samples, how: Any, *others: Any) -> dict[str, float]:
        tried.append((how.classifier, how.updates))
        assert (len(train), len(test)) == (4 * TRAIN, 4 * 2)  # the validation part, not the test part
        return {"auc": scores[how.updates]}

    monkeypatch.setattr(plateau, "train_and_test", score)
    rows, _ = run(methods=(), ipc=(2,), seeds=1, updates=None, classifiers=("convnet",))
    assert tried == [("convnet", updates) for updates in (2, 2, 4, 4, 8, 8)]
    assert {row["updates"] for row in rows} == {4}
    more, _ = run(methods=("dm",), ipc=(2,), seeds=1, updates=None, classifiers=("convnet",))
    assert len(tried) == 6 and {row["updates"] for row in more} == {4}  # kept in the folder


def test_two_runs_do_not_write_to_one_folder(run: Callable[..., Any], tmp_path: Path) -> None:
    with alone_in(tmp_path / "out"), pytest.raises(UserError, match="Another run is writing"):
        run()


def test_a_fit_of_other_settings_is_not_taken(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run(seeds=1)
    monkeypatch.setitem(dcgan.PRESETS, "quick", Config(width=2))  # as by a newer version
    with pytest.raises(UserError, match="dcgan was trained with other settings"):
        run()


def test_impossible_flags_are_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    for flags, words in (
        ({"data": None}, "--data names no images"),
        ({"ipc": (0, 2)}, "--ipc must be at least 1"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"classifiers": ()}, "--classifiers names no network"),
        ({"image_size": 33}, "33"),
        ({"updates": 0}, "--updates must be at least 1"),
        ({"targets": ()}, "--targets names nothing"),
    ):
        with pytest.raises(UserError, match=words):
            run(**flags)
    assert not (tmp_path / "out").exists()


def test_features_of_selections_are_learnt_once(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    resumed, original = [], subset.trained_network

    def trained(*arguments: Any) -> Any:
        resumed.append(arguments[3].resume)
        return original(*arguments)

    monkeypatch.setattr(subset, "trained_network", trained)
    rows, _ = run(methods=("subset",), classifiers=("convnet",), seeds=1)
    assert [row["method"] for row in rows[3:]] == ["herding", "herding", "k_center", "k_center"]
    assert resumed == [False, True, True, True]
    alone, _ = run("alone", methods=("subset",), ipc=(3,), classifiers=("convnet",), seeds=1)
    kept = [row["auc"] for row in rows if row["ipc"] == 3]
    assert kept == [row["auc"] for row in alone if row["ipc"] == 3]


def test_real_trainings_share_one_backbone(
    table1: ModuleType,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    accelerator: Any,
) -> None:
    caplog.set_level(logging.INFO)
    made, original = [], MedSynth.pretrain

    def pretrain(condenser: MedSynth) -> None:
        stage = condenser.run.stage("backbone")
        made.append((stage.folder, stage.resume))
        original(condenser)

    monkeypatch.setattr(MedSynth, "pretrain", pretrain)
    monkeypatch.setattr(table1, "make_accelerator", lambda precision: accelerator)
    flags = ["--methods", "medsynth", "medsynth_real", "--ipc", "2", "--seeds", "1", "--classifiers", "vit_lora"]
    flags += ["--budget", "quick", "--targets", "hard", "--updates", "2"]
    for seeds in ("1", "2"):
        flags[flags.index("--seeds") + 1] = seeds
        monkeypatch.setattr(sys, "argv", ["table1.py", "--data", str(images), "--out", str(tmp_path / "out"), *flags])
        table1.main()
    # Not once for each method; and read again by the second run.
    assert made == [(tmp_path / "out" / "backbone", False), (tmp_path / "out" / "backbone", True)]
    rows = [json.loads(row) for row in (tmp_path / "out" / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2 * 5 and all(0 <= row["auc"] <= 1 for row in rows)
    assert not any(row["fresh"] for row in rows if row["method"] == "medsynth_real")  # it needs real images
    classifiers = [tmp_path / "out" / "fits" / name / "classifier" for name in ("medsynth", "medsynth_real")]
    assert len({(folder / "metrics.jsonl").read_bytes() for folder in classifiers}) == 1  # tuned once, with its times
    assert load_model(tmp_path / "out" / "fits" / "medsynth_real" / "model").origin == "real"
    fit = json.loads((tmp_path / "out" / "fits" / "medsynth" / "fit.json").read_text(encoding="utf-8"))
    pretraining = json.loads((tmp_path / "out" / "backbone" / "fit.json").read_text(encoding="utf-8"))
    assert rows[2]["fit_seconds"] == fit["seconds"] + pretraining["seconds"]
    assert any("5 of 10 rows are there" in line for line in caplog.messages)
    assert any(line.startswith("MedSynth, 2 a class, ViT + LoRA: AUC") and "of 10" in line for line in caplog.messages)
    shown = capsys.readouterr().out
    assert (tmp_path / "out" / "table1.md").read_text(encoding="utf-8") in shown
    # Without data or training the same table comes again.
    monkeypatch.setattr(sys, "argv", ["table1.py", "--print-only", "--out", str(tmp_path / "out")])
    table1.main()
    assert capsys.readouterr().out == (tmp_path / "out" / "table1.md").read_text(encoding="utf-8")


def test_a_fit_does_not_pay_for_the_backbone_that_it_shares(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def pretrain(condenser: MedSynth) -> None:
        begun.append("backbone")
        condenser.backbone = torch.nn.Identity()

    monkeypatch.setattr(MedSynth, "pretrain", pretrain)

    def fit(*given: Any) -> None:
        begun.append("fit")
        raise RuntimeError("killed")

    import table1_fits  # its folder is on the path as long as a test has the script

    monkeypatch.setattr(table1_fits.Fits, "_fit", fit)
    run(methods=("medsynth",), ipc=(2,), seeds=1, classifiers=("convnet",))  # which needs no backbone itself
    assert begun == ["backbone", "fit"]


def test_the_time_that_is_left_is_that_of_the_classifiers_left(table1: ModuleType, tmp_path: Path) -> None:
    import table1_rows

    rows = table1_rows.RowFile(tmp_path / "rows.jsonl")
    for seed, seconds in enumerate((2.0, 4.0)):
        row = {"method": "full", "ipc": None, "fresh": False, "classifier": "convnet", "seed": seed}
        rows.append(row | {"seconds": seconds})
    config = replace(table1.Table1(), classifiers=("convnet", "resnet18"))
    of = table1.Measurement.__new__(table1.Measurement)
    of.config, of.rows = config, rows
    unit = table1_rows.Unit("random", 10)
    left = [table1_rows.Job(unit, name, 0) for name in ("convnet", "convnet", "resnet18")]
    assert of._estimate(left) == 9.0
