"""Everything that the library reads from elsewhere, small: whole files, how each breaks, and who reads it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mutate_archives
import mutate_text
import numpy as np
from attacks import class_folders, picture
from mutate import Mutator
from numpy.random import Generator

from mmgen.errors import UserError

Sentences = Iterable[str]
"""What a command would say of what it read."""
COPIES = {
    "exact": 0, "near": 0, "by_ratio": 0, "by_ratio_of_others": 0, "of_others": 200, "of": 400,
    "share_closer_to_training": 0.5, "share_closer_ci": [0.46, 0.54],
}  # fmt: skip
ATTACK = {
    "auc": 0.5, "auc_ci": [0.4, 0.6], "tpr_at_1_fpr": 0.0, "tpr_at_1_fpr_ci": [0.0, 0.0], "accuracy": 0.5,
    "chance": 0.5, "threat_model": "S", "n_members": 40, "n_non_members": 40, "counts": True,
    "roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]},
}  # fmt: skip
PRIVACY = {"domias": ATTACK, "copies": COPIES, "pass_through": {"share": 0.0, "how": "class prior", "patches": 0}}
SCORE = {
    "auc": {"mean": 0.8, "std": 0.1, "ci95": [0.7, 0.9]},
    "balanced_accuracy": {"mean": 0.7, "std": 0.0},
    "seeds": 1,
}
UTILITY = {"image": {"convnet": {"real": SCORE, "synthetic@10": SCORE, "real+synthetic": SCORE}}}


@dataclass(frozen=True)
class Received:
    """A folder of whole files, of which some come from elsewhere.

    Attributes:
        write: makes the folder.
        files: patterns of the files that break, and the ways in which they do.
        read: reads the folder, in which one file is broken, as a command does; raises UserError, or gives what there is
            to say.
        after: what else changes with a file.
    """

    write: Callable[[Path], object]
    files: Mapping[str, Mapping[str, Mutator]]
    read: Callable[[Path, Path], Sentences]
    after: Callable[[Path, Path, Generator], object] = lambda folder, broken, rng: None


# --- real data


def write_table(folder: Path, name: str = "manifest.csv", head: str = "path,label,split,subject,site") -> None:
    splits = ["train", "train", "val", "test"]
    rows = [f"{row},{splits[number % 4]},{number % 4},1" for number, row in enumerate(class_folders(folder, 4))]
    (folder / name).write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


def check(path: Path, kind: str = "image", **options: Any) -> Sentences:
    from mmgen.data.check import check_data
    from mmgen.data.images import ImageSettings
    from mmgen.data.sources import Reading

    reading = Reading(**options)
    return check_data(reading.sources({kind: path}, {kind: ImageSettings(32)}), reading).lines()


def check_named(folder: Path, broken: Path) -> Sentences:
    from mmgen.data.table import Columns

    return check(folder / "table.csv", columns=Columns("file", "class", "number", "part", "use"))


def write_shards(folder: Path) -> None:
    from mmgen.data.writing.layout import add_member

    folder.mkdir(parents=True)
    import tarfile

    for shard in range(2):
        with tarfile.open(folder / f"{shard}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(4 * shard, 4 * shard + 4):
                about = {"label": "ab"[number % 2], "subject": f"person {number}"}
                about["split"] = ("train", "train", "val", "test")[number // 2]
                add_member(tar, f"{number:06d}.json", json.dumps(about).encode())
                add_member(tar, f"{number:06d}.png", picture(number))


def published(name: str) -> Callable[[Path, Path], Sentences]:
    def read(folder: Path, broken: Path) -> Sentences:
        from mmgen.data.reading.layouts import read_layout
        from mmgen.data.settings import FILE_KINDS

        kind = "image" if name in ("coronahack", "isic2019") else "audio"
        manifest = read_layout(folder, kind, FILE_KINDS[kind].suffixes, (name,))  # type: ignore[arg-type]
        return manifest.label_names

    return read


def write_published(name: str, **options: Any) -> Callable[[Path], object]:
    def write(folder: Path) -> object:
        import layout_trees

        return getattr(layout_trees, f"write_{name}")(folder, per_class=2, **options)

    return write


def write_cached(folder: Path) -> None:
    write_table(folder / "data")
    (folder / "values").mkdir()
    np.save(folder / "values" / "expected.npy", _load(folder))


def read_cached(folder: Path, broken: Path) -> Sentences:
    """The decoded values are those of the files, whatever has become of what was kept of them."""
    assert np.array_equal(_load(folder), np.load(folder / "values" / "expected.npy")), "values of another file"
    return []


def _load(folder: Path) -> np.ndarray:
    from mmgen.data.cache import Cache
    from mmgen.data.images import ImageSettings
    from mmgen.data.loading import load
    from mmgen.data.sources import Reading

    reading = Reading(cache=Cache(folder / "cache", 10**9))
    return load(reading.sources({"image": folder / "data"}, {"image": ImageSettings(32)}), reading)["image"].values[:]


def write_phantoms(folder: Path) -> None:
    read_phantoms(folder, folder)


def read_phantoms(folder: Path, broken: Path) -> Sentences:
    from mmgen.data.phantoms import write_phantom_images

    write_phantom_images(folder, "brains", subjects_per_class=2, image_size=8)
    return []


# --- models


def write_models(folder: Path) -> None:
    from small import small_model
    from tiny_medsynth import LABELS, small_generator, tiny_samples

    from mmgen.artifacts.models import save_model
    from mmgen.models.stored import StoredImages

    samples = tiny_samples((2, 2))
    stored = StoredImages.build(samples.values, samples.labels, LABELS, "dm")
    for name, model in {"mae": small_model(), "medsynth": small_generator(), "stored": stored}.items():
        (folder / name).mkdir(parents=True)
        save_model(model, folder / name)


def read_model(folder: Path, broken: Path) -> Sentences:
    from mmgen.artifacts.models import load_model, model_digest, model_settings

    model = load_model(broken.parent)
    model_digest(model)
    with suppress(UserError):  # it need not say how files become its arrays
        model_settings(model)
    return model.class_names


def write_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    vit = _mae().to_timm("image").state_dict()
    torch.save({"model": vit}, folder / "vit.pt")
    save_file({name: tensor.contiguous() for name, tensor in vit.items()}, folder / "vit.safetensors")


def _gan() -> Any:
    """A generator of pictures, always the same."""
    import torch
    from tiny_medsynth import LABELS

    from mmgen.models.conditional_gan import ConditionalGenerator

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ConditionalGenerator(32, 3, LABELS, noise=8, width=4).eval()


def read_weights(folder: Path, broken: Path) -> Sentences:
    from mmgen.artifacts.models import start_from_timm

    start_from_timm(_mae(), "image", str(broken))
    return []


def _mae() -> Any:
    from small import small_model

    return small_model()


@cache
def _accelerator() -> Any:
    from accelerate import Accelerator

    return Accelerator(cpu=True, mixed_precision="no")


def write_run(folder: Path) -> None:
    write_table(folder / "data")
    _train(folder, resume=False)


def read_run(folder: Path, broken: Path) -> Sentences:
    _train(folder, resume=True)
    return []


def _train(folder: Path, resume: bool) -> None:
    """A training of a moment in ``run``, on data of its own, as of the pictures in ``data``."""
    from tiny import make_loop

    from mmgen.artifacts.provenance import begin_run
    from mmgen.data.images import ImageSettings
    from mmgen.data.loading import prepare
    from mmgen.data.sources import Reading
    from mmgen.training.run import Run

    reading, run = Reading(), Run(_accelerator(), folder / "run", resume)
    with run.alone():
        data = prepare(reading.sources({"image": folder / "data"}, {"image": ImageSettings(32)}), reading)
        begin_run(run, {"seed": 0}, data, ())
        make_loop(_accelerator(), run.folder, resume, loop={"epochs": 1, "ema_decay": 0.5}).train()


# --- synthetic data sets, releases, reports


def write_sets(form: str) -> Callable[[Path], object]:
    """Data sets of pictures and sounds in one folder each."""

    def write(folder: Path) -> None:
        from small import noise_samples, small_model
        from tiny_medsynth import write_condensed

        from mmgen.generation.plan import make_plan
        from mmgen.generation.writing import OutputOptions, write_dataset

        output = OutputOptions(form, 2, 2)  # type: ignore[arg-type]
        write_condensed(_gan(), 2, 0, folder / "pictures", output)
        plan = make_plan(small_model(), noise_samples(), 2, seed=0)
        write_dataset(small_model(), plan, folder / "pairs", output)

    return write


def listed(folder: Path, broken: Path, rng: Generator) -> None:
    """Half of the broken files have a right checksum in their ``dataset.json``."""
    home = next((parent for parent in broken.parents if (parent / "dataset.json").is_file()), None)
    if home is not None and broken.name != "dataset.json" and rng.random() < 0.5:
        from mmgen.data.writing.layout import sha256

        document = home / "dataset.json"
        about = json.loads(document.read_text(encoding="utf-8"))
        about["checksums"][broken.relative_to(home).as_posix()] = sha256(broken)
        document.write_text(json.dumps(about), encoding="utf-8")


def read_set(folder: Path, broken: Path) -> Sentences:
    from mmgen.assessment.inputs import read_synthetic, synthetic_settings
    from mmgen.data.writing.verify import verify_dataset

    home = folder / broken.relative_to(folder).parts[0]
    problems = verify_dataset(home, progress=False)
    read_synthetic(home, synthetic_settings(home), {})
    return problems


def release_set(folder: Path, broken: Path) -> Sentences:
    return _release(folder / broken.relative_to(folder).parts[0], folder / "out")


def _release(run: Path, out: Path) -> Sentences:
    from mmgen.release.releasing import write_release

    return [verdict.line for verdict in write_release(run, out, override=("A. Turing", "a test"))]


def write_finished(folder: Path) -> None:
    """A run that can be released."""
    from tiny_medsynth import LABELS, write_condensed

    from mmgen.artifacts.card_facts import CardFacts, Scores
    from mmgen.artifacts.models import model_digest, save_model
    from mmgen.release.datasets import dataset_digest

    generator, run = _gan(), folder / "run"
    (run / "model").mkdir(parents=True)
    facts = CardFacts(
        {"image": {LABELS[0]: 6, LABELS[1]: 8}}, 14, 14, 9000, (2,), {}, (Scores("convnet", 2, 0.7, 0.8, 0.9),)
    )
    save_model(generator, run / "model", facts, utility=UTILITY)
    write_condensed(generator, 2, 0, run / "synthetic")
    of = {"model": model_digest(generator), "data_sets": {"synthetic": dataset_digest(run / "synthetic")}}
    about = {"audited": True, "created": "2026-01-02T03:04:05+00:00", "of": {"modalities": ["image"], **of}}
    (run / "audit").mkdir()
    (run / "audit" / "privacy.json").write_text(json.dumps(about | {"privacy": PRIVACY, "verdicts": []}))


def read_finished(folder: Path, broken: Path) -> Sentences:
    return _release(folder / "run", folder / "out")


def write_reports(folder: Path) -> None:
    from mmgen.evaluation.report.media import Figure, ReportMedia, Sample
    from mmgen.evaluation.report.writing import write_report

    counts = {"a": {"train": 8, "test": 4, "synthetic": 5}, "b": {"train": 8, "test": 4, "synthetic": 5}}
    report = {
        "run": "mine",
        "created": "2026-01-02T03:04:05+00:00",
        "config": {"epochs": 3},
        "data": {"image": {"counts": counts, "subjects": 9}},
        "condensation": {
            "real_images": 8,
            "ipc": {"2": {"ratio": 0.5}},
            "generator_bytes": 9000,
            "mean_attention": 0.5,
        },
        "utility": UTILITY,
        "fidelity": {"image": {"nearest_training_distance": {"value": 3.0, "real_vs_real": 2.0, "better": None}}},
        "privacy": PRIVACY,
        "cost": {"phase I": {"seconds": 3.0, "device": "cpu", "peak_memory_mb": 100.0}},
    }
    shown = [Sample("a", "real", np.zeros((1, 8, 8), dtype=np.uint8))]
    figure = Figure("Training", "A caption.", "Words.", picture(0))
    write_report(folder / "report", report, ReportMedia([figure], shown))


def read_reports(folder: Path, broken: Path) -> Sentences:
    from mmgen.assessment.reporting import redraw

    redraw(folder)
    return []


def write_unfinished(folder: Path) -> None:
    from mmgen.data.writing.writer import DatasetWriter

    finish, DatasetWriter.finish = DatasetWriter.finish, lambda self, about: None  # type: ignore[method-assign]
    try:
        read_unfinished(folder, folder)
    finally:
        DatasetWriter.finish = finish  # type: ignore[method-assign]


def read_unfinished(folder: Path, broken: Path) -> Sentences:
    from tiny_medsynth import write_condensed

    write_condensed(_gan(), 2, 0, folder / "set")
    return []


def write_flags(folder: Path) -> None:
    flags = ("images: data/x", "audio: data/y", "out: runs/a", "epochs: 3", "lr: 0.001", "label-map: [a=b, c=d]")
    more = ("preset: tiny", "skip_bad: true", "seed: 7", "mask_ratio: 0.5", "path_column: file", "cache_limit: 2GB")
    folder.mkdir(parents=True)
    (folder / "flags.yaml").write_text("\n".join([*flags, *more]) + "\n")


def read_flags(folder: Path, broken: Path) -> Sentences:
    from mmgen.cli.config import parse_config
    from mmgen.cli.mae_flags import MAEFlags

    parse_config(MAEFlags, ["--config", str(broken)])
    return []


_TABLES = {"*.csv": mutate_text.CSV}
_FOLDERS, _SHARDS = write_sets("folder"), write_sets("webdataset")
FORMATS: dict[str, Received] = {
    "manifest": Received(write_table, _TABLES, lambda folder, broken: check(folder)),
    "table": Received(
        lambda folder: write_table(folder, "table.csv", "file,class,part,number,use"),
        {"table.csv": mutate_text.CSV},
        check_named,
    ),
    **{name: Received(write_published(name), _TABLES, published(name)) for name in ("coronahack", "coswara")},
    "isic2019": Received(write_published("isic2019"), _TABLES, published("isic2019")),
    "coughvid": Received(write_published("coughvid"), _TABLES, published("coughvid")),
    "coughvid json": Received(
        write_published("coughvid", table=False), {"*.json": mutate_text.JSON}, published("coughvid")
    ),
    "shards": Received(write_shards, {"*.tar": mutate_archives.TAR}, lambda folder, broken: check(folder)),
    "cache": Received(write_cached, {"cache/*/*.*": mutate_archives.BINARY}, read_cached),
    "phantoms": Received(write_phantoms, {"phantoms.json": mutate_text.JSON}, read_phantoms),
    "flags": Received(write_flags, {"flags.yaml": mutate_text.YAML}, read_flags),
    "model": Received(
        write_models,
        {"*/config.json": mutate_text.JSON, "*/model.safetensors": mutate_archives.SAFETENSORS},
        read_model,
    ),
    "other weights": Received(
        write_weights, {"*.safetensors": mutate_archives.SAFETENSORS, "*.pt": mutate_archives.CHECKPOINT}, read_weights
    ),
    "checkpoint": Received(write_run, {"run/checkpoints/last.pt": mutate_archives.CHECKPOINT}, read_run),
    "run": Received(
        write_run,
        {
            "run/config.yaml": mutate_text.YAML,
            "run/metrics.jsonl": mutate_text.JSON,
            "run/contents.npz": mutate_archives.BINARY,
        },
        read_run,
    ),
    "data set": Received(
        _FOLDERS, {"*/dataset.json": mutate_text.JSON, "*/metadata.csv": mutate_text.CSV}, read_set, listed
    ),
    "spectrograms": Received(_FOLDERS, {"pairs/spectrograms/*/*.npy": mutate_archives.NPY}, read_set, listed),
    "data set in shards": Received(
        _SHARDS,
        {"*/shards/*.tar": mutate_archives.TAR, "*/dataset.json": mutate_text.JSON},
        read_set,
        listed,
    ),
    "released folder": Received(
        _FOLDERS,
        {
            "*/dataset.json": mutate_text.JSON,
            "*/metadata.csv": mutate_text.CSV,
            "pairs/spectrograms/*/*.npy": mutate_archives.NPY,
            "*/images/*/*.png": mutate_text.DAMAGE,
            "pairs/audio/*/*.flac": mutate_text.DAMAGE,
        },
        release_set,
        listed,
    ),
    "released shards": Received(_SHARDS, {"*/shards/*.tar": mutate_archives.TAR}, release_set, listed),
    "released run": Received(
        write_finished,
        {
            "run/audit/privacy.json": mutate_text.JSON,
            "run/model/card.json": mutate_text.JSON,
            "run/model/utility.json": mutate_text.JSON,
            "run/model/config.json": mutate_text.JSON,
        },
        read_finished,
    ),
    "report": Received(
        write_reports, {"report/report.json": mutate_text.JSON, "report/media.json": mutate_text.JSON}, read_reports
    ),
    "unfinished set": Received(write_unfinished, {"set/INCOMPLETE": mutate_text.JSON}, read_unfinished),
}
logging.getLogger("accelerate").setLevel(logging.ERROR)
