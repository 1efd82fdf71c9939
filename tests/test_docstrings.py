"""The examples in the docstrings of all that ``mmgen`` exports, run in a folder that holds what they name."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import use_short_attacks
from PIL import Image
from small import small_model

import mmgen
from mmgen.assessment import evaluating
from mmgen.generation.plan import make_plan
from mmgen.generation.writing import write_dataset
from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.class_prior import ClassPrior

CLASSES = ("melanoma", "nevus")


class WithoutHubsLine(doctest.OutputChecker):
    """Compares as doctest does, but for a line that huggingface_hub prints whenever it loads a model."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(want, got.replace("Loading weights from local directory\n", ""), optionflags)


def write_generator(folder: Path, data: Path) -> None:
    """A MedSynth generator that has learnt nothing but the statistics of its classes."""
    files = sorted((data / "train").rglob("*.png"))
    images = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2).copy())
    labels = torch.tensor([CLASSES.index(file.parent.name) for file in files])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained = AttentionGenerator(32, 3, len(CLASSES), 8, 1)
    generator = mmgen.MedSynthGenerator.build(untrained, CLASSES, ClassPrior.fit(images, labels, CLASSES, 4))
    generator.save_pretrained(folder)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """phantoms/ of X-rays and coughs, isic/ of lesions, synthetic/ images of its labels, runs/covid and runs/isic, and
    drawn/, a data set that runs/isic made."""
    root = tmp_path_factory.mktemp("examples")
    mmgen.write_phantoms(root / "phantoms", subjects_per_class=4, image_size=32)
    mmgen.write_phantom_images(root / "isic", "lesions", subjects_per_class=12, image_size=32, labels=CLASSES)
    shutil.copytree(root / "isic" / "test", root / "synthetic")
    small_model().save_pretrained(root / "runs" / "covid" / "model")
    run = root / "runs" / "isic"
    write_generator(run / "model", root / "isic")
    model = mmgen.load_model(run)
    write_dataset(model, make_plan(model, {}, 2, {}, 0), root / "drawn")
    with pytest.MonkeyPatch.context() as patch:
        use_short_attacks(patch)
        mmgen.audit(run, root / "isic", root / "isic", run / "audit", fast=True)
    return root


@pytest.mark.parametrize("name", mmgen.__all__)
def test_examples_do_what_they_say(
    name: str, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(prepared)
    use_short_attacks(monkeypatch)
    monkeypatch.setattr(evaluating, "SHORT", 1)
    public = getattr(mmgen, name)
    (example, *_) = doctest.DocTestFinder(recurse=False).find(public, name, globs={}) or [None]
    assert example is not None and example.examples, f"mmgen.{name} has no >>> example in its docstring"
    result = doctest.DocTestRunner(WithoutHubsLine()).run(example)
    assert not result.failed, capsys.readouterr().out
