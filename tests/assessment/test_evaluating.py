"""``mmgen.evaluate``: what is compared with what, what is not computed twice, and what is refused before a training."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pictures import files_of, write_csv, write_pictures
from PIL import Image
from safetensors.torch import save_file
from small import small_model
from tiny_medsynth import LABELS, small_generator, write_condensed

import mmgen
from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.models import save_model
from mmgen.assessment import evaluating
from mmgen.assessment.evaluating import Measures
from mmgen.data.samples import Samples
from mmgen.data.sources import Reading
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.measures import MEASURES
from mmgen.evaluation.fidelity.result import FidelityResult
from mmgen.evaluation.scores import UtilityScores
from mmgen.evaluation.utility import UtilityConfig
from mmgen.generation.pairs import read_sources
from mmgen.generation.plan import make_plan
from mmgen.generation.writing import OutputOptions, write_dataset

UTILITY = UtilityConfig(updates=1, seeds=1, max_side=32)
SHORT = Measures(classifiers=("convnet",), utility=UTILITY)
CLOSENESS = Measures(classifiers=(), sound_classifiers=())
SETS = {"real", "synthetic", "real+synthetic", "random_subset"}
OF_FEATURES = {name for name, kind in MEASURES.items() if kind.of_features}


def small_pictures(folder: Path, per_label: int = 8, seed: int = 0, labels: Sequence[str] = LABELS) -> Path:
    """Of few pixels, so that distances of features take a moment."""
    return write_pictures(folder, per_label, seed, labels, size=12, mode="L")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pictures(tmp_path_factory.mktemp("an evaluation") / "real", seed=1)


@pytest.fixture(scope="module")
def test_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pictures(tmp_path_factory.mktemp("an evaluation") / "test", seed=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pictures(tmp_path_factory.mktemp("an evaluation") / "сделано", 5, seed=3)


@pytest.fixture(scope="module")
def both(phantom_files: dict[str, Path], model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a masked autoencoder with a small data set of images and sounds."""
    run = tmp_path_factory.mktemp("runs") / "both"
    model = small_model()
    save_model(model, run / "model", CardFacts({"image": {"covid": 7}, "audio": {"covid": 4}}))
    samples = read_sources(model, phantom_files)
    plan = make_plan(model, samples, 6, {"image": 0.75, "audio": 0.75}, 0)
    write_dataset(model, plan, run / "synthetic" / "six", OutputOptions())
    return run


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often something was measured."""
    counted: Counter[str] = Counter()

    def counting(name: str, measure: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            counted[name] += 1
            return measure(*arguments, **options)

        return run

    for name in ("utility", "utility_by_folds", "measure_fidelity"):
        monkeypatch.setattr(evaluating, name, counting(name, getattr(evaluating, name)))
    return counted


# -- what can be evaluated


def test_it_is_importable_from_the_top() -> None:
    from mmgen.assessment.auditing import audit
    from mmgen.release.releasing import write_release

    assert mmgen.evaluate is evaluating.evaluate and mmgen.audit is audit and mmgen.write_release is write_release
    assert {"evaluate", "audit", "write_release"} <= set(mmgen.__all__)


def test_a_bare_folder_is_set_beside_its_references(real: Path, test_data: Path, made: Path) -> None:
    result = mmgen.evaluate(made, real, test_data, measures=SHORT)
    counts = {label: {"train": 8, "test": 8, "synthetic": 5} for label in LABELS}
    assert result.sections["data"] == {"image": {"counts": counts}}
    scores = result.sections["utility"]["image"]["convnet"]
    assert set(scores) == SETS
    assert [scores[name].n_train for name in ("real", "synthetic", "real+synthetic", "random_subset")] == [
        16, 10, 26, 10,
    ]  # fmt: skip
    fidelity = result.sections["fidelity"]["image"]
    assert set(fidelity) == set(MEASURES) - {"waveform_round_trip_db", "seams"}
    assert {fidelity[name].features for name in OF_FEATURES} == {"pixels"}
    assert fidelity["frechet"].note.startswith("Biased: 8 samples in 144 dimensions; prefer")
    media = result.media()
    assert [figure.title for figure in media.figures] == ["Intensities: image", "Sharpness: image"]
    assert {(sample.source, sample.label) for sample in media.samples} == {
        (source, label) for source in ("real", "synthetic") for label in LABELS
    }


def test_copies_of_real_data_are_closer_than_noise(real: Path, test_data: Path, tmp_path: Path) -> None:
    noise = small_pictures(tmp_path / "noise", seed=9, labels=LABELS[::-1])  # each class has the shade of the other
    like = small_pictures(tmp_path / "like", seed=8)
    near, far = (
        mmgen.evaluate(folder, real, test_data, measures=CLOSENESS).sections["fidelity"]["image"]
        for folder in (like, noise)
    )
    for name in ("frechet_within_class", "kernel_distance_within_class"):
        assert near[name].value < 0.5 * far[name].value


def test_of_a_run_the_largest_set_is_taken(real: Path, test_data: Path, tmp_path: Path) -> None:
    small_generator(channels=1).save_pretrained(tmp_path / "run" / "model")
    for count in (5, 2):
        write_condensed(small_generator(channels=1), count, 0, tmp_path / "run" / "synthetic" / f"ipc{count}")
    for path, count in (("run", 5), ("run/synthetic", 5), ("run/synthetic/ipc2", 2)):
        result = mmgen.evaluate(tmp_path / path, real, test_data, measures=CLOSENESS)
        assert {row["synthetic"] for row in result.sections["data"]["image"]["counts"].values()} == {count}
    with pytest.raises(UserError, match="holds a model and no synthetic data set"):
        mmgen.evaluate(tmp_path / "run" / "model", real, test_data, measures=CLOSENESS)


def test_images_and_sounds_with_an_encoder_of_its_own(both: Path, phantom_files: dict[str, Path]) -> None:
    measures = Measures(str(both), ("vit_lora",), str(both / "model"), UTILITY, ("mfcc", "vit_lora"))
    result = mmgen.evaluate(both, phantom_files, phantom_files, measures=measures)
    for part in ("data", "utility", "fidelity"):
        assert list(result.sections[part]) == ["image", "audio"]
    assert "waveform_round_trip_db" in result.sections["fidelity"]["audio"]
    assert all(fidelity["seams"].value > 0 for fidelity in result.sections["fidelity"].values())
    for fidelity in result.sections["fidelity"].values():
        assert {fidelity[name].features for name in OF_FEATURES} == {"own"}
    by_classifier = result.sections["utility"]["audio"]
    assert list(by_classifier) == ["mfcc", "vit_lora"] and list(result.sections["utility"]["image"]) == ["vit_lora"]
    assert set(by_classifier["mfcc"]) == set(by_classifier["vit_lora"]) == SETS
    sides = [by_classifier[name]["real"] for name in ("mfcc", "vit_lora")]
    assert [(side.updates, side.max_side) for side in sides] == [(None, 40), (1, 40)]
    samples = result.media().samples
    assert all(sample.image is not None and sample.waveform is not None for sample in samples)


def test_one_modality_of_two(both: Path, phantom_files: dict[str, Path]) -> None:
    for name in ("image", "audio"):
        result = mmgen.evaluate(both, phantom_files[name], phantom_files[name], modalities=[name], measures=CLOSENESS)
        assert list(result.sections["fidelity"]) == [name] and result.sections["utility"] == {name: {}}
    with pytest.raises(UserError, match="--real needs a path for image and audio"):
        mmgen.evaluate(both, phantom_files["image"], phantom_files, measures=CLOSENESS)


# -- how


def test_features_of_a_timm_network_from_a_file(
    real: Path, test_data: Path, made: Path, tmp_path: Path, calls: Counter[str]
) -> None:
    names = []
    for seed in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "net.safetensors")
        measures = replace(CLOSENESS, features=f"test_resnet@{tmp_path / 'net.safetensors'}")
        for _ in range(2):
            result = mmgen.evaluate(made, real, test_data, tmp_path / "out", measures=measures)
        assert calls["measure_fidelity"] == seed + 1  # other weights in the same file are other features
        names.append(result.sections["fidelity"]["image"]["precision"].features)
    assert names[0] != names[1] and all(name.startswith("test_resnet@") for name in names)


def test_classifiers_are_trained_for_as_long_as_it_helps(
    test_data: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, sizes, trained = small_pictures(tmp_path / "many", 30), [], []

    def lasting(modality: Any, train: Samples, validation: Samples, config: UtilityConfig, *others: Any) -> Any:
        sizes.append((len(train), len(validation), config.updates))
        return {1: 0.5, 2: 0.6, 4: 0.6}

    def utility(modality: Any, sets: Any, test: Any, config: UtilityConfig, *others: Any) -> Any:
        trained.append((len(sets["real"]), config.updates))
        return {}

    monkeypatch.setattr(evaluating, "lasting", lasting)
    monkeypatch.setattr(evaluating, "utility", utility)
    longer = replace(SHORT, until_plateau=True)
    for _ in range(2):  # the second time all is known
        mmgen.evaluate(made, many, test_data, tmp_path / "out", measures=longer)
        assert sizes == [(48, 12, 1)] and trained == [(60, 2)]
    assert not longer.shortened().until_plateau


def test_too_few_to_say_how_long_to_train(test_data: Path, made: Path, tmp_path: Path) -> None:
    few = small_pictures(tmp_path / "few", 4)
    with pytest.raises(UserError, match=r"Too few people have each label of 'image'.*--updates"):
        mmgen.evaluate(made, few, test_data, measures=replace(SHORT, until_plateau=True))


def test_folds_instead_of_a_test_set(real: Path, test_data: Path, made: Path, calls: Counter[str]) -> None:
    measures = replace(SHORT, utility=replace(UTILITY, folds=2))
    scores = mmgen.evaluate(made, real, test_data, measures=measures).sections["utility"]["image"]["convnet"]
    assert {(entry.folds, entry.n_test) for entry in scores.values()} == {(2, 16)}
    assert calls["utility_by_folds"] == 1 and calls["utility"] == 0


def test_labels_in_another_order_case_or_under_another_name(real: Path, test_data: Path, tmp_path: Path) -> None:
    names = (LABELS[1].upper(), LABELS[0].upper())
    made = small_pictures(tmp_path / "made", 5, seed=3, labels=names[::-1])
    result = mmgen.evaluate(made, real, test_data, measures=SHORT)
    assert result.sections["fidelity"] == _fidelity(real, test_data, small_pictures(tmp_path / "same", 5, seed=3))
    other = small_pictures(tmp_path / "other", 5, seed=3, labels=("A healthy one", LABELS[1]))
    reading = Reading({"a healthy one": LABELS[0]})
    renamed = mmgen.evaluate(other, real, test_data, measures=CLOSENESS, reading=reading)
    assert renamed.sections["fidelity"] == result.sections["fidelity"]
    assert list(renamed.sections["data"]["image"]["counts"]) == list(LABELS)
    left_out = Reading({LABELS[0]: "", "a healthy one": ""})
    alone = mmgen.evaluate(other, real, test_data, measures=SHORT, reading=left_out)
    assert list(alone.sections["data"]["image"]["counts"]) == [LABELS[1]] and alone.sections["utility"]["image"] == {}


def _fidelity(real: Path, test: Path, made: Path) -> Any:
    return mmgen.evaluate(made, real, test, measures=CLOSENESS).sections["fidelity"]


def test_both_real_parts_may_come_from_one_table(real: Path, made: Path, tmp_path: Path) -> None:
    rows = [(*row, ("train", "val", "test", "test")[n % 4]) for n, row in enumerate(files_of(real))]
    table = write_csv(tmp_path / "data.csv", rows, ("path", "label", "split"))
    count = mmgen.evaluate(made, table, table, measures=CLOSENESS).sections["data"]["image"]["counts"][LABELS[0]]
    assert count == {"train": 2, "test": 4, "synthetic": 5}
    result = mmgen.evaluate(made, table, table, measures=CLOSENESS, real_split="test", test_split="val")
    assert result.sections["data"]["image"]["counts"][LABELS[0]] == {"train": 4, "test": 2, "synthetic": 5}


def test_a_short_evaluation_trains_the_first_classifier_briefly() -> None:
    measures = Measures(classifiers=("convnet", "resnet18"), utility=replace(UTILITY, updates=100, folds=3))
    short = measures.shortened()
    assert (short.classifiers, short.sound_classifiers) == (("convnet",), ("mfcc",))
    assert (short.utility.updates, short.utility.seeds, short.utility.folds) == (evaluating.SHORT, 1, 3)
    assert SHORT.shortened().utility.updates == 1


# -- nothing twice


def test_nothing_is_computed_twice_and_a_changed_file_anew(
    real: Path,
    test_data: Path,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: Counter[str] = Counter()

    def count(name: str, result: Callable[[int], Any]) -> None:
        monkeypatch.setattr(evaluating, name, lambda *_: calls.update([name]) or {"number": result(calls[name])})

    count("utility", lambda number: UtilityScores(seeds=number))
    count("measure_fidelity", lambda number: FidelityResult(float(number)))
    caplog.set_level("INFO")
    copies = [shutil.copytree(path, tmp_path / path.name) for path in (made, real, test_data)]
    first = mmgen.evaluate(*copies, tmp_path / "out", measures=SHORT)
    again = mmgen.evaluate(*copies, tmp_path / "out", measures=SHORT)
    assert calls == {"utility": 1, "measure_fidelity": 1} and again.sections == first.sections
    assert "2 results were there from an earlier evaluation" in caplog.text
    for number, folder in enumerate(copies, 2):
        Image.new("L", (12, 12), number).save(folder / LABELS[0] / "000.png")
        mmgen.evaluate(*copies, tmp_path / "out", measures=SHORT)
        assert calls == {"utility": number, "measure_fidelity": number}
    mmgen.evaluate(*copies, tmp_path / "out", measures=replace(SHORT, utility=replace(UTILITY, updates=2)))
    assert calls == {"utility": 5, "measure_fidelity": 4}


# -- what is refused


def test_one_class_alone_is_measured_but_for_utility(
    real: Path, test_data: Path, made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sides = [
        shutil.copytree(path / LABELS[0], tmp_path / path.name / LABELS[0]).parent for path in (made, real, test_data)
    ]
    result = mmgen.evaluate(*sides, measures=SHORT)
    assert result.sections["utility"] == {"image": {}}
    assert result.sections["fidelity"]["image"]["frechet"].value is not None
    assert "There is one label only: utility for classification cannot be measured." in caplog.messages


def test_a_class_that_one_side_lacks_is_named(real: Path, test_data: Path, made: Path, tmp_path: Path) -> None:
    sides = {"synthetic set": made, "--real data": real, "--test data": test_data}
    for name, path in sides.items():
        one = shutil.copytree(path / LABELS[0], tmp_path / name / LABELS[0]).parent
        with pytest.raises(UserError) as refused:
            mmgen.evaluate(*(one if side == name else p for side, p in sides.items()), measures=SHORT)
        assert str(refused.value).startswith(f"The {name} has no 'image' samples of {LABELS[1]}, which others have;")
        assert "--label-map OLD=NEW" in str(refused.value)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise AssertionError("something was measured before the mistake was found")

    for name in ("utility", "utility_by_folds", "measure_fidelity"):
        monkeypatch.setattr(evaluating, name, fail)


def test_mistakes_are_a_sentence_before_anything_is_measured(
    real: Path, test_data: Path, made: Path, model_folder: Path, tmp_path: Path, no_training: None
) -> None:
    empty, flat, broken = (tmp_path / name for name in ("empty", "flat", "broken"))
    empty.mkdir()
    shutil.copytree(real / LABELS[0], flat)
    shutil.copytree(test_data, broken)
    (broken / LABELS[0] / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    vit = replace(SHORT, classifiers=("vit_lora",), backbone="nonsense")
    for arguments, measures, words in (
        ((empty, real, test_data), SHORT, "empty holds neither pictures nor sounds in folders by label"),
        ((tmp_path / "gone", real, test_data), SHORT, "There is nothing at .*gone; give a synthetic data set"),
        ((made, tmp_path / "gone", test_data), SHORT, "gone does not exist"),
        ((flat, real, test_data), SHORT, "expected FOLDER/LABEL/FILE"),
        ((made, flat, test_data), SHORT, "expected FOLDER/LABEL/FILE"),
        ((made, real, broken), SHORT, r"1 file cannot be used: .*002\.png"),
        ((made, real, test_data), replace(SHORT, features="nonsense"), "There are no features 'nonsense'"),
        ((made, real, test_data), replace(SHORT, features="own"), "There is no own encoder here"),
        ((made, real, test_data), replace(SHORT, features="test_resnet@gone.pt"), r"gone\.pt cannot be read"),
        ((made, real, test_data), replace(SHORT, features=str(model_folder)), r"\(1, 32, 32\) .* \(1, 12, 12\)"),
        ((made, real, test_data), vit, "neither a file nor a timm model 'nonsense'"),
        ((made, real, test_data), replace(vit, backbone=str(model_folder)), r"\(1, 32, 32\) .* \(1, 12, 12\)"),
    ):
        with pytest.raises(UserError, match=words) as refused:
            mmgen.evaluate(*arguments, tmp_path / "out", measures=measures)
        assert "\n" not in str(refused.value)


def test_a_backbone_that_nobody_adapts_is_not_looked_for(real: Path, test_data: Path, made: Path) -> None:
    result = mmgen.evaluate(made, real, test_data, measures=replace(SHORT, backbone="not/there"))
    assert list(result.sections["utility"]["image"]) == ["convnet"]


def test_vit_lora_needs_a_backbone() -> None:
    for kind in ("classifiers", "sound_classifiers"):
        with pytest.raises(UserError, match="give --backbone a timm name"):
            Measures(**{kind: ("vit_lora",)})


def test_spectrograms_that_are_not_numbers(both: Path, phantom_files: dict[str, Path], tmp_path: Path) -> None:
    import numpy as np

    folder = shutil.copytree(both / "synthetic" / "six", tmp_path / "six")
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        path = folder / next(csv.DictReader(file))["audio_spectrogram"]
    values = np.load(path)
    np.save(path, np.full_like(values, np.nan))
    with pytest.raises(UserError, match=r"^1 of 12 samples of 'audio' in .* hold values that are not numbers"):
        mmgen.evaluate(folder, phantom_files, phantom_files, measures=SHORT)
