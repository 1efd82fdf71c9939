"""A script that tests start: kills a command at random moments, gives it again, and compares what it leaves.

``kill_commands.py CASE KILLS SEED FOLDER`` prints as JSON how many kills there were and all that is not in order.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killing import forked, halves, temporaries
from small import PRESET, PROJECT, digests
from tiny import QUICK_ATTACKS, make_loop
from tiny_medsynth import small_generator, use_tiny, write_condensed
from train_gan_tiny import train

from mmgen import presets
from mmgen.assessment import auditing
from mmgen.cli import main as program
from mmgen.data.phantoms import write_phantom_images, write_phantoms
from mmgen.evaluation.utility import UtilityConfig
from mmgen.training.engine import make_accelerator
from mmgen.training.run import Run, read_metrics

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A command, and what is the same however often it was killed.

    Attributes:
        act: gives the command: inputs, output, and whether it was given before.
        same: what must be equal in the end, by name.
        prepare: makes the inputs.
        start: what is in the output before; ``kept`` looks after every kill whether it still is.
    """

    act: Callable[[Path, Path, bool], Any]
    same: Callable[[Path], Values]
    prepare: Callable[[Path], Any] = lambda inputs: None
    start: Callable[[Path, Path], Any] = lambda inputs, out: None
    kept: Callable[[Path], bool] = lambda out: True


def command(*arguments: object) -> None:
    """``mmgen`` with these arguments."""
    sys.argv = ["mmgen", *map(str, arguments)]
    program.main()


def resume(out: Path, again: bool) -> list[str]:
    """The flags with which a training goes on, if it had come as far as that."""
    return ["--resume", "latest"] if again and any(out.rglob("last.pt")) else []


def recipe(name: str, *arguments: object) -> None:
    import runpy

    sys.argv = [name, *map(str, arguments)]
    runpy.run_path(str(PROJECT / "recipes" / f"{name}.py"), run_name="__main__")


def training(out: Path) -> Values:
    """Weights and rows of a training and its stages, but for what was set aside; times and memory are not the same
    twice."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("checkpoints/*t.pt")):  # last.pt and best.pt
        state = torch.load(path, weights_only=True)
        found[str(path.relative_to(out))] = [digest(state.get("model", state)), state.get("update")]
    for path in sorted(out.rglob("metrics.jsonl")):
        changing = ("seconds", "samples_per_s", "peak_memory_mb")
        rows = [{key: row[key] for key in row if key not in changing} for row in read_metrics(path)]
        found[str(path.relative_to(out))] = rows
    return found


def digest(state: Mapping[str, Any]) -> str:
    import hashlib

    parts = [name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(state.items())]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def of_run(out: Path) -> Values:
    """What a recipe makes; its model's privacy.json and card say when they were written."""
    made = {name: value for name, value in digests(out).items() if name.startswith(("model/", "synthetic/"))}
    made.pop("model/privacy.json")
    names = {path.relative_to(out / "report").as_posix(): True for path in (out / "report").rglob("*.*")}
    return {**training(out), **made, **names}


def of_report(out: Path) -> Values:
    content = json.loads((out / "report.json").read_text())
    names = {path.relative_to(out).as_posix(): True for path in out.rglob("*.*")}
    return {**names, **{name: content[name] for name in ("utility", "fidelity", "privacy") if name in content}}


# -- the commands


def train_mae(inputs: Path, out: Path, again: bool) -> None:
    run = Run(make_accelerator("no"), out, bool(resume(out, again)))
    loop = {"epochs": 6, "validate_every": 1, "ema_decay": 0.5}
    with run.alone():
        make_loop(run.accelerator, out, run.resume, loop=loop, task={"validate": True}).train()


def train_gan(inputs: Path, out: Path, again: bool) -> None:
    run = Run(make_accelerator("no"), out, bool(resume(out, again)))
    with run.alone():
        train("phase II", run.accelerator, out, run.resume, epochs=4)


def condense(inputs: Path, out: Path, again: bool) -> None:
    flags = ("--ipc", 3, "--prior-floor", 4, "--out", out)
    command("condense", inputs, *flags, *resume(out.with_name(f"{out.name}_run"), again))


def mmae(inputs: Path, out: Path, again: bool) -> None:
    data = ("--images", inputs / "images", "--audio", inputs / "audio", "--epochs", 3, "--no-single-modal")
    recipe("mmae_covid", *data, "--per-class", 4, "--out", out, *resume(out, again))


def medsynth(inputs: Path, out: Path, again: bool) -> None:
    flags = ("--classifiers", "convnet", "--ipc", 2, "--prior-floor", 4, "--out", out)
    recipe("medsynth_isic", "--data", inputs, *flags, *resume(out, again))


def write_models(inputs: Path) -> None:
    from small import small_model

    from mmgen.artifacts.models import save_model

    (inputs / "mae").mkdir(parents=True)
    save_model(small_model(), inputs / "mae")
    write_phantoms(inputs, subjects_per_class=6, image_size=32)


def generate(*flags: object) -> Callable[[Path, Path, bool], None]:
    def act(inputs: Path, out: Path, again: bool) -> None:
        data = ("--images", inputs / "images", "--audio", inputs / "audio", "--per-class", 6, "--batch-size", 2)
        command("generate", inputs / "mae", *data, *flags, "--out", out)

    return act


def write_finished(inputs: Path) -> None:
    from mmgen.artifacts.models import save_model

    generator = small_generator()
    (inputs / "run" / "model").mkdir(parents=True)
    save_model(generator, inputs / "run" / "model")
    write_condensed(generator, 5, 0, inputs / "run" / "synthetic")
    for side in (0, 1):
        write_phantom_images(
            inputs / f"side {side}", "lesions", 8, seed=side, image_size=32, labels=generator.class_names
        )


def sides(inputs: Path, first: str, second: str) -> tuple[object, ...]:
    return first, inputs / "side 0" / "train", second, inputs / "side 1" / "train"


def evaluate(inputs: Path, out: Path, again: bool) -> None:
    data = sides(inputs, "--real", "--test")
    command("evaluate", inputs / "run", *data, "--fast", "--classifiers", "convnet", "--max-side", 32, "--out", out)


def audit(inputs: Path, out: Path, again: bool) -> None:
    command("audit", inputs / "run", *sides(inputs, "--members", "--non-members"), "--fast", "--out", out)


def keeps_evaluation(out: Path) -> bool:
    return "convnet" in json.loads((out / "report.json").read_text())["utility"]["image"]


def release(inputs: Path, out: Path, again: bool) -> None:
    command("release", inputs / "run", "--out", out, "--override", "A. Turing", "--because", "a test")


def phantoms(inputs: Path, out: Path, again: bool) -> None:
    command("phantoms", "--out", out, "--subjects-per-class", 4, "--image-size", 32)


CASES = {
    "train mae": Case(train_mae, training),
    "train gan": Case(train_gan, training),
    "condense": Case(
        condense,
        lambda out: {**digests(out), **training(out.with_name(f"{out.name}_run"))},
        lambda inputs: write_phantom_images(inputs, "lesions", subjects_per_class=10, image_size=32),
    ),
    "recipe mmae": Case(mmae, of_run, lambda inputs: write_phantoms(inputs, subjects_per_class=8, image_size=32)),
    "recipe medsynth": Case(
        medsynth, of_run, lambda inputs: write_phantom_images(inputs, "lesions", subjects_per_class=12, image_size=32)
    ),
    "generate folder": Case(generate(), digests, write_models),
    "generate shards": Case(generate("--format", "webdataset", "--shard-size", 2), digests, write_models),
    "generate anew": Case(
        generate("--overwrite"), digests, write_models, lambda inputs, out: generate("--seed", 5)(inputs, out, False)
    ),
    "evaluate": Case(evaluate, of_report, write_finished),
    "audit": Case(audit, of_report, write_finished, lambda inputs, out: evaluate(inputs, out, False), keeps_evaluation),
    "release": Case(release, digests, write_finished),
    "phantoms": Case(phantoms, digests),
}


def use_tiny_sizes(patch: pytest.MonkeyPatch) -> None:
    use_tiny(patch)
    patch.setattr(auditing, "FAST", QUICK_ATTACKS)
    patch.setitem(presets.PRESETS, "tiny", replace(PRESET, utility=UtilityConfig(updates=1, seeds=1, max_side=32)))


def moments(seed: int, changes: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Endless moments to be killed at: changes of the folder, and every third a time."""
    rng = np.random.default_rng(seed)
    while True:
        yield {"change": int(rng.integers(1, changes + 1))}
        yield {"change": int(rng.integers(1, changes + 1))}
        yield {"seconds": seconds * rng.uniform(0.02, 1.0)}


def _equal(case: Case, out: Path, expected: Values) -> bool:
    try:
        return case.same(out) == expected
    except (OSError, KeyError, ValueError):  # not all of it is there
        return False


def survive(
    case: Case, inputs: Path, folder: Path, chain: list[dict[str, Any]], expected: Values
) -> tuple[int, list[str]]:
    """Kill a command at these moments one after the other, let it end, and compare: kills, and what is wrong."""
    out, kills, wrong = folder / "out", 0, []
    folder.mkdir()
    forked(lambda: case.start(inputs, out), folder)
    for number, moment in enumerate(chain):
        ended = forked(lambda again=number > 0: case.act(inputs, out, again), folder, **moment)
        kills += ended.status == -9
        if ended.status not in (-9, 0):
            wrong.append(f"{moment}: ended with {ended.status}")
        wrong += [f"{moment}: half there: {name}" for name in halves(folder)]
        if not case.kept(out):
            wrong.append(f"{moment}: something that was whole is lost")
    finished = out.exists() and not wrong and not temporaries(folder) and _equal(case, out, expected)
    ended = forked(lambda: case.act(inputs, out, True), folder)
    if ended.status and not finished:  # what is finished need not be made again: it may be refused as occupied
        return kills, [*wrong, f"{chain}: the repetition ended with {ended.status}"]
    wrong += [f"{chain}: left: {name}" for name in temporaries(folder)]
    same = case.same(out)
    differing = sorted(key for key in same.keys() | expected.keys() if same.get(key) != expected.get(key))
    return kills, wrong + ([f"{chain}: differs in {differing[:8]}"] if differing else [])


def main(name: str, kills: int, seed: int, folder: Path) -> None:
    case, inputs, whole = CASES[name], folder / "inputs", folder / "whole"
    case.prepare(inputs)
    whole.mkdir()
    forked(lambda: case.start(inputs, whole / "out"), whole)
    undisturbed = forked(lambda: case.act(inputs, whole / "out", False), whole)
    assert undisturbed.status == 0, undisturbed
    expected, done, wrong, rounds = case.same(whole / "out"), 0, list[str](), 0
    every = moments(seed, undisturbed.changes, undisturbed.seconds)
    while done < kills and rounds < 3 * kills:
        chain = [next(every) for _ in range(min(1 + rounds % 2, kills - done))]
        more, faults = survive(case, inputs, folder / f"killed {rounds}", chain, expected)
        done, wrong, rounds = done + more, wrong + faults, rounds + 1
        shutil.rmtree(folder / f"killed {rounds - 1}")
    print(json.dumps({"kills": done, "wrong": wrong, "undisturbed": undisturbed, "compared": len(expected)}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_sizes(patch)
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]).resolve())
