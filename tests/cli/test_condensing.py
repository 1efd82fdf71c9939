from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from condensing import IMAGES, call, error, rows_of, run_of
from PIL import Image
from small import digests
from tiny_medsynth import LABELS, TINY, small_generator, use_tiny

from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.models import load_model, model_digest, save_model
from mmgen.cli.condensation_flags import CondensationFlags
from mmgen.condensation.condenser import Length
from mmgen.condensation.methods import settings_of
from mmgen.condensation.representatives import representatives
from mmgen.data.phantoms import BRAINS, LESIONS, write_phantom_images
from mmgen.data.threads import one_thread
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError
from mmgen.generation import writing
from mmgen.generation.pairs import read_sources
from mmgen.generation.plan import make_plan
from mmgen.generation.writing import OutputOptions, write_dataset
from mmgen.models.medsynth import MedSynthGenerator


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    return lambda *arguments: call(monkeypatch, *arguments)


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few phantom lesions, in a folder whose name has a space and another script."""
    root = tmp_path_factory.mktemp("кожа и data")
    return write_phantom_images(root / "lesions", "lesions", subjects_per_class=10, image_size=32)


@pytest.fixture(scope="module")
def condensed(lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a condensed set; its run is beside it."""
    out = tmp_path_factory.mktemp("condensed") / "a set"
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "condense", lesions, "--ipc", 3, "--prior-floor", 4, "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def from_real(lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with real images as input and without phase I."""
    out = tmp_path_factory.mktemp("condensed") / "real"
    flags = ["--input-prior", "real", "--skip-phase1", "--format", "webdataset"]
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "condense", lesions, "--ipc", 3, *flags, "--out", out) == 0
    return out


# -- mmgen condense


def test_condense_leaves_a_whole_set_that_stands_for_its_generator(
    condensed: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    assert command("check", condensed) == 0
    rows = rows_of(condensed)
    labels = sorted(LESIONS)
    assert [row["image_file_name"] for row in rows] == [
        f"images/{label}/{number:06d}.png" for label in labels for number in range(3)
    ]
    generator = load_model(run_of(condensed))
    assert isinstance(generator, MedSynthGenerator) and generator.class_names == tuple(labels)
    assert {(row["seed"], row["model"], row["may_hold_real_pixels"]) for row in rows} == {
        ("0", model_digest(generator), "False")
    }
    stored = read_dataset(condensed, IMAGES)["image"]
    with one_thread():  # as where it was made: last bits depend on it, and they may decide what is chosen
        chosen = representatives(generator, 3, TINY.choose_from)
    assert np.array_equal(stored.values[:], chosen.values)
    assert json.loads((condensed / "dataset.json").read_text(encoding="utf-8"))["chosen_from"] == TINY.choose_from
    # Who holds the generator can choose the same.
    flags = ["--per-class", 3, "--out", tmp_path / "again", "--choose-from", TINY.choose_from]
    assert command("generate", run_of(condensed), *flags) == 0
    assert np.array_equal(read_dataset(tmp_path / "again", IMAGES)["image"].values[:], stored.values[:])
    assert stored.labels.tolist() == chosen.labels.tolist() and stored.label_names == chosen.label_names
    about = json.loads((condensed / "dataset.json").read_text(encoding="utf-8"))
    assert about["copies_real_data"] is False and about["generator"]["method"] == "medsynth"
    assert "no file in it is a recording or picture of a person" in (condensed / "README.md").read_text()


def test_the_run_holds_logs_settings_and_generator(condensed: Path) -> None:
    names = set(digests(run_of(condensed)))
    for stage in ("backbone", "classifier", "warmup", "phase1", "phase2", "networks"):
        assert {f"{stage}/metrics.jsonl", f"{stage}/checkpoints/last.pt"} <= names
    files = ("config.json", "model.safetensors", "README.md", "card.json", "preview.png", "privacy.json")
    assert {f"model/{name}" for name in files} == {name for name in names if name.startswith("model/")}
    document = yaml.safe_load((run_of(condensed) / "config.yaml").read_text(encoding="utf-8"))
    assert document["config"]["ipc"] == 3 and document["config"]["fit"]["width"] == TINY.width
    assert document["data_fingerprints"].keys() == {"image"}


def test_the_card_has_counts_and_sizes_and_no_names(condensed: Path, lesions: Path) -> None:
    model = run_of(condensed) / "model"
    card = (model / "README.md").read_text(encoding="utf-8")
    with (lesions / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = {label: int(count) for label, count in re.findall(r"\| image \| (\w+) \| (\d+) \|", card)}
    assert sorted(counts) == sorted(LESIONS)
    images = sum(counts.values())
    assert 0 < images < sum(row["split"] == "train" for row in rows)  # some are for validation
    subjects = int(re.search(r"Of (\d+) subjects", card)[1])  # type: ignore[index]
    assert len(LESIONS) * 4 <= subjects < images
    assert re.fullmatch("[0-9a-f]{24}", CardFacts.read(model).members["image"])
    ratio = 100 * 3 * len(LESIONS) / images
    assert f"condensation ratio at 3 images a class: {ratio:.1f} %" in card and "not audited" in card
    assert re.search(rf"training images: {images}, \d+\.\d MB", card) and re.search(r"model: \d+\.\d MB", card)
    shared = [path for folder in (model, condensed) for path in folder.rglob("*") if path.is_file()]
    text = b"".join(path.read_bytes() for path in shared)
    for row in rows:
        assert row["subject"].encode() not in text and Path(row["path"]).name.encode() not in text
    for path in (lesions, lesions.parent, condensed.parent):
        assert str(path).encode() not in text and path.name.encode() not in text


def test_a_finished_run_is_drawn_from_again_without_training(
    condensed: Path, lesions: Path, command: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In shards this time, elsewhere."""
    caplog.set_level("INFO")
    flags = ["--format", "webdataset", "--run", run_of(condensed), "--resume", "latest", "--prior-floor", 4]
    before = digests(run_of(condensed) / "model")
    assert command("condense", lesions, "--ipc", 3, *flags, "--out", tmp_path / "в частях") == 0
    assert caplog.text.count("Resumed") == 6 and digests(run_of(condensed) / "model") == before
    assert verify_dataset(tmp_path / "в частях") == []
    shards, folder = (read_dataset(path, IMAGES)["image"] for path in (tmp_path / "в частях", condensed))
    assert np.array_equal(shards.values[:], folder.values[:]) and shards.labels.tolist() == folder.labels.tolist()


def test_grey_slices_become_colour_and_a_class_of_one_person_is_pooled(
    command: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    brains = write_phantom_images(tmp_path / "мозг", "brains", subjects_per_class=10, image_size=32)
    rows = (brains / "manifest.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) > 30
    one = sorted(BRAINS)[0]
    mixed = [re.sub(r"brains-\d+,train$", "somebody,train", row) if f",{one}," in row else row for row in rows]
    (brains / "manifest.csv").write_text("\n".join(mixed) + "\n", encoding="utf-8")
    flags = ["--channels", 3, "--prior-floor", 4, "--augmentation", "radiograph"]
    assert command("condense", brains / "manifest.csv", "--ipc", 1, *flags, "--out", tmp_path / "set") == 0
    assert f"The class '{one}' has images of only 1 people" in caplog.text
    generator = load_model(tmp_path / "set_run")
    assert isinstance(generator, MedSynthGenerator) and generator.prior is not None
    assert generator.prior.pooled == [one] and generator.shape == (3, 32, 32)
    card = (tmp_path / "set_run" / "model" / "README.md").read_text(encoding="utf-8")
    assert f"so they have that of all images: {one}." in card and "somebody" not in card


# -- flags


def test_flags_override_the_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_tiny(monkeypatch)
    (tmp_path / "vit.pth").write_bytes(b"")
    assert settings_of("medsynth", CondensationFlags()) == TINY
    flags = CondensationFlags(
        image_size=48,
        channels=1,
        augmentation="radiograph",
        input_prior="real",
        prior_floor=5,
        backbone="vit_tiny_patch16_224",
        backbone_weights=tmp_path / "vit.pth",
        epochs_phase1=7,
        epochs_phase2=8,
        batch_size=2,
        gan_weight=0.5,
        mask_weight=0.25,
        matching="logits",
        adam_betas=(0.9, 0.999),
        seed=4,
    )
    fit = settings_of("medsynth", flags)
    gan = fit.gan
    assert (fit.input_prior, fit.floor, fit.augmentation) == ("real", 5, "radiograph")
    assert (fit.backbone, fit.backbone_weights) == ("vit_tiny_patch16_224", tmp_path / "vit.pth")
    assert (fit.phase1, fit.phase2) == (Length(7, "epochs"), Length(8, "epochs"))
    assert (gan.batch_size, gan.gan_weight, gan.mask_weight, gan.matching) == (2, 0.5, 0.25, "logits")
    assert gan.betas == (0.9, 0.999)
    assert settings_of("medsynth", replace(flags, skip_phase1=True)).phase1.count == 0
    with pytest.raises(UserError, match=r"no file .*none\.pth of weights"):
        settings_of("medsynth", replace(flags, backbone_weights=tmp_path / "none.pth"))


# -- what is refused before a training


def test_what_would_fail_at_the_end_is_refused_at_the_start(
    command: Callable[..., int], lesions: Path, condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    one_label = ["--label-map", *(f"{name}=" for name in LESIONS[1:])]
    for flags, words in (
        (["--out", condensed], "is not empty"),
        (["--out", tmp_path / "mine"], "is not empty"),
        (["--out", tmp_path / "mine", "--overwrite"], "are not deleted"),
        (["--out", tmp_path / "file"], "is a file"),
        (["--run", tmp_path / "out" / "run"], "choose another --run or --out"),
        (["--run", tmp_path, "--out", tmp_path / "model"], "choose another --run or --out"),
        (["--image-size", 40], "multiple of 16"),
        (["--image-size", 512], "multiple of 16"),
        (["--backbone", "vit_tiny_patch16_224", "--backbone-weights", tmp_path / "missing.pth"], "missing.pth"),
        (["--backbone-weights", tmp_path / "file"], "belongs to a model"),
        (["--backbone", "vit_tiny_patch16_224"], "cannot be had from the hub"),
        (["--ipc", 0], "--ipc must be at least 1"),
        (["--shard-size", 0], "shard size must be at least 1"),
        (["--batch-size", 0], "batch size must be at least 1"),
        (["--seed", -1], "--seed must be 0 or more"),
        (["--skip-phase1", "--epochs-phase2", 0], "at least one of them must be trained"),
        (["--resume", "latest"], "There is no checkpoint"),
        (one_label, "at least two labels"),
        (["--prior-floor", 100], "fewer than 100 images"),
    ):
        flags = ["--ipc", 1, "--prior-floor", 4, "--run", tmp_path / "run", "--out", tmp_path / "out", *flags]
        assert command("condense", lesions, *flags) == 2, words
        assert words in error(capsys)
    assert command("condense", tmp_path / "nowhere", "--ipc", 1, "--out", tmp_path / "out") == 2
    assert "nowhere" in error(capsys)
    assert not (tmp_path / "out").exists() and (tmp_path / "mine" / "letter.txt").read_text() == "mine"
    assert not list(tmp_path.rglob("*.pt"))


def test_an_earlier_run_is_replaced_with_a_word(
    command: Callable[..., int], condensed: Path, lesions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(run_of(condensed), tmp_path / "run")
    flags = ["--prior-floor", 4, "--skip-phase1", "--run", tmp_path / "run", "--out", tmp_path / "set"]
    assert command("condense", lesions, "--ipc", 1, *flags) == 0
    assert "holds an earlier run, which this one replaces" in caplog.text
    assert (tmp_path / "run" / "phase1" / "checkpoints.earlier" / "last.pt").is_file()
    assert not (tmp_path / "run" / "phase1" / "checkpoints").exists()


# -- mmgen generate with a generator


def test_generate_draws_from_a_generator_alone(
    condensed: Path, command: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    model, out = run_of(condensed), tmp_path / "a set"
    assert command("generate", model, "--per-class", 5, "--seed", 3, "--out", out) == 0
    assert caplog.messages[-1] == f"{5 * len(LESIONS)} samples of {' and '.join(sorted(LESIONS))} are in {out}"
    generator = load_model(model)
    assert isinstance(generator, MedSynthGenerator) and verify_dataset(out) == []
    assert np.array_equal(read_dataset(out, IMAGES)["image"].values[:], generator.sample(5, seed=3).images.numpy())


def test_flags_of_the_autoencoder_are_refused_for_a_generator(
    condensed: Path,
    from_real: Path,
    command: Callable[..., int],
    lesions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for flags in (
        ["--audio", lesions],
        ["--mask-ratio", 0.5],
        ["--image-mask-ratio", 0.75],
        ["--audio-mask-ratio", 1],
        ["--segments", 2],
        ["--paste-visible"],
    ):
        for made, needs in ((condensed, "no real samples"), (from_real, "only --images")):
            assert command("generate", run_of(made), "--per-class", 1, *flags, "--out", tmp_path / "set") == 2
            assert error(capsys).endswith(f"makes samples from {needs} here; leave out {flags[0]}.")
    flags = ["--images", lesions, "--segments", 2, "--per-class", 1]
    assert command("generate", run_of(condensed), *flags, "--out", tmp_path / "set") == 2
    assert error(capsys).endswith("leave out --segments, --images.")
    assert not (tmp_path / "set").exists()


def test_a_mistake_loses_no_earlier_set(
    condensed: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(condensed, tmp_path / "set")
    for wrong in (["--per-class", 0], ["--per-class", 1, "--seed", -1], ["--per-class", 1, "--batch-size", 0]):
        assert command("generate", run_of(condensed), *wrong, "--overwrite", "--out", out) == 2
        error(capsys)
    assert digests(out) == digests(condensed)


# -- real images as input


def test_real_images_go_in_and_the_set_says_so(from_real: Path, lesions: Path, command: Callable[..., int]) -> None:
    assert not (run_of(from_real) / "phase1").exists() and not (run_of(from_real) / "warmup").exists()
    assert verify_dataset(from_real) == [] and len(read_dataset(from_real, IMAGES)["image"]) == 3 * len(LESIONS)
    assert "treat them as real data" in (from_real / "README.md").read_text(encoding="utf-8")
    assert json.loads((from_real / "dataset.json").read_text(encoding="utf-8"))["copies_real_data"] is True
    card = (run_of(from_real) / "model" / "README.md").read_text(encoding="utf-8")
    assert "treat what it makes as real data" in card and "preview.png" not in card
    assert not (run_of(from_real) / "model" / "preview.png").exists()


def test_generate_from_real_images_needs_them(
    from_real: Path, lesions: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--per-class", 2, "--out", tmp_path / "set"]
    assert command("generate", run_of(from_real), *flags) == 2
    assert "starts from real images; give --images" in error(capsys)
    without = ["--label-map", f"{LESIONS[0]}="]
    assert command("generate", run_of(from_real), *flags, "--images", lesions, *without) == 2
    assert f"has no images of {LESIONS[0]} to start from" in error(capsys)
    assert not (tmp_path / "set").exists()
    assert command("generate", run_of(from_real), *flags, "--images", lesions, "--split", "test") == 0
    assert verify_dataset(tmp_path / "set") == []
    assert {row["may_hold_real_pixels"] for row in rows_of(tmp_path / "set")} == {"True"}


def class_folders(root: Path, shades: dict[str, int]) -> Path:
    """Folders of three plain grey files each."""
    for name, shade in shades.items():
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (40, 40), shade + number).save(root / name / f"{number}.png")
    return root


def test_classes_of_real_images_are_matched_by_name(tmp_path: Path) -> None:
    """Other classes beside them, an order of their own, another case, grey files for a generator of colour."""
    names = LABELS[::-1]
    generator = MedSynthGenerator.build(small_generator(real=True).generator, names, None)
    shades = {"Меланома": 200, "aaa": 5, "GESUND": 20}
    real = read_sources(generator, {"image": class_folders(tmp_path / "снимки", shades)})
    made = make_plan(generator, real, 4, seed=1).fixed
    assert made is not None and made.label_names == names and made.labels.tolist() == [0] * 4 + [1] * 4
    for row, label in enumerate(made.labels):
        shade = 200 if label == 0 else 20
        images = [np.full((1, 3, 32, 32), shade + number, np.uint8) for number in range(3)]
        possible = [generator.condense(torch.from_numpy(x), torch.tensor([label])).images[0] for x in images]
        assert any(np.array_equal(made.values[row], x.numpy()) for x in possible)


def test_real_images_of_other_channels_are_refused() -> None:
    generator = small_generator(real=True)
    with pytest.raises(UserError, match="convert grey to RGB first"):
        generator.condense(torch.zeros(2, 1, 32, 32), torch.tensor([0, 1]))


# -- writing


@pytest.mark.parametrize("form", ["folder", "webdataset"])
@pytest.mark.parametrize("per_class", [1, 20])
def test_the_set_does_not_depend_on_how_it_is_written(form: Any, per_class: int, tmp_path: Path) -> None:
    """20: more than a batch of the generator, and batches of 7 that reach into the next class."""
    generator = small_generator()
    how = OutputOptions(form, batch_size=7, shard_size=14)
    plan = make_plan(generator, per_class=per_class, seed=5)
    folder = write_dataset(generator, plan, tmp_path / "ein Satz", how, model_name="abc")
    assert verify_dataset(folder) == []
    stored, drawn = read_dataset(folder, IMAGES)["image"], generator.sample(per_class, seed=5)
    assert np.array_equal(stored.values[:], drawn.images.numpy())
    assert stored.labels.tolist() == drawn.labels.tolist() and stored.label_names == LABELS


@pytest.mark.parametrize("form", ["folder", "webdataset"])
@pytest.mark.parametrize("real", [False, True])
def test_an_interrupted_set_goes_on_to_the_same_bytes(
    form: Any, real: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    generator, how = small_generator(real), OutputOptions(form, batch_size=2, shard_size=2)
    data = class_folders(tmp_path / "data", {LABELS[0]: 20, LABELS[1]: 200})
    images = read_sources(generator, {"image": data}) if real else {}
    plan = make_plan(generator, images, 20, seed=1)
    whole = read_dataset(write_dataset(generator, plan, tmp_path / "whole", how), IMAGES)["image"]
    expected = generator.sample(20, 1).images.numpy() if plan.fixed is None else plan.fixed.values
    assert np.array_equal(whole.values[:], expected)
    to_run = writing.run_batches

    def stopped(*arguments: Any) -> Iterator[Any]:
        for number, batch in enumerate(to_run(*arguments)):
            if number == 17:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(writing, "run_batches", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(generator, plan, tmp_path / "set", how)
    with pytest.raises(UserError, match="interrupted data set that differs in model"):
        write_dataset(small_generator(real, seed=1), plan, tmp_path / "set", how)
    if plan.fixed is not None:
        others = replace(plan, fixed=replace(plan.fixed, values=255 - plan.fixed.values))
        with pytest.raises(UserError, match="differs in images"):
            write_dataset(generator, others, tmp_path / "set", how)
    write_dataset(generator, plan, tmp_path / "set", how)
    there = int(re.search(r"going on, (\d+) of 40 samples are there", caplog.text)[1])  # type: ignore[index]
    assert 0 < there < 40 and digests(tmp_path / "set") == digests(tmp_path / "whole")


def test_numbers_that_make_no_set_are_refused() -> None:
    for count, seed in ((0, 0), (-1, 0), (1, -1)):
        with pytest.raises(UserError, match="At least 1 image a class"):
            make_plan(small_generator(), per_class=count, seed=seed)


def test_the_real_form_is_not_written_without_images(tmp_path: Path) -> None:
    save_model(small_generator(real=True), tmp_path / "model")
    with pytest.raises(UserError, match="starts from real images"):
        make_plan(load_model(tmp_path / "model"), per_class=1)


@pytest.mark.parametrize("inside", ["prior", "prior/mae", "warmup"])
def test_a_set_is_not_written_among_the_stages_of_its_run(
    inside: str, command: Callable[..., int], tmp_path: Path, capsys: Any
) -> None:
    """Stages may lie in a folder of their own, as those of an autoencoder to start from do."""
    run = tmp_path / "run"
    assert command("condense", tmp_path / "data", "--ipc", 2, "--run", run, "--out", run / inside) == 2
    assert "would hold files of the run" in error(capsys)
