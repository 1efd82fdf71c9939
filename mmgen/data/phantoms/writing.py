"""Phantoms as data sets on disk: ordinary files in folders of splits and labels, beside a manifest."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.random import default_rng

from mmgen.data.cells import to_cell
from mmgen.data.opening import read_json
from mmgen.data.phantoms.brains import BRAINS, phantom_brain
from mmgen.data.phantoms.coughs import SAMPLE_RATE, phantom_cough
from mmgen.data.phantoms.lesions import LESIONS, phantom_lesion
from mmgen.data.phantoms.xrays import phantom_xray
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError

LABELS = ("covid", "healthy")  # of X-rays and coughs
QUARTER = 0.25  # of a label's subjects is for testing; another quarter, drawn by itself, has two files
SPLIT_ENTRIES = ("test", "train", "manifest.csv")  # what a folder of one modality holds


class Drawing(NamedTuple):
    """How the files of one modality are made."""

    stream: int  # of random numbers: no two modalities share one
    suffix: str
    draw: Callable[..., Any]


DRAWINGS = {
    "images": Drawing(0, "png", phantom_xray),
    "audio": Drawing(1, "wav", phantom_cough),
    "lesions": Drawing(2, "png", phantom_lesion),
    "brains": Drawing(3, "png", phantom_brain),
}
PICTURES = {"lesions": LESIONS, "brains": BRAINS}  # kinds of one modality alone, and their labels

Plan = list[tuple[tuple[str, str, str, str], tuple[int, ...]]]  # of every file: its manifest row, its seed


def _plan(name: str, labels: Sequence[str], subjects_per_class: int, seed: int) -> Iterator[tuple[tuple, tuple]]:
    """Every file's manifest row and its seed: (seed, modality, label index, subject, file from 1)."""
    (stream, suffix, _), chosen = DRAWINGS[name], max(1, round(QUARTER * subjects_per_class))
    for index, label in enumerate(labels):
        rng = default_rng([seed, stream, index])
        test, double = (rng.permutation(subjects_per_class)[:chosen].tolist() for _ in range(2))
        for subject_number in range(subjects_per_class):
            subject = f"{name}-{index * subjects_per_class + subject_number:05d}"
            split = "test" if subject_number in test else "train"
            for number in (1, 2) if subject_number in double else (1,):
                path = f"{split}/{label}/{subject}-{number}.{suffix}"
                yield (path, label, subject, split), (seed, stream, index, subject_number, number)


def _write_modality(folder: Path, name: str, files: Plan, image_size: int) -> None:
    import soundfile
    from PIL import Image

    draw = DRAWINGS[name].draw
    for (path, *_), seed in files:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Files count from 1: 0 is the subject's.
        label_index, rng, subject_rng = seed[2], default_rng(seed), default_rng([*seed[:-1], 0])
        if target.suffix == ".png":
            Image.fromarray(draw(label_index, rng, image_size, subject_rng)).save(target)
        else:
            soundfile.write(target, draw(label_index, rng, SAMPLE_RATE, subject_rng), SAMPLE_RATE, "PCM_16")
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as stream:
        rows = [("path", "label", "subject", "split"), *(row for row, _ in files)]
        csv.writer(stream).writerows(map(to_cell, row) for row in rows)


def _write_set(
    root: Path, folders: dict[str, Path], subjects_per_class: int, seed: int, size: int, labels: list[str], **kind: str
) -> None:
    """Write modalities, by name, into their folders, which are root or in it, unless they are there already."""
    if subjects_per_class < 2 or seed < 0 or size < 8:
        raise UserError("phantoms need subjects_per_class >= 2, seed >= 0 and image_size >= 8")
    names = {label.strip().casefold() for label in labels if label == Path(label).name and label not in ("", "..")}
    if not labels or len(names) < len(labels):
        raise UserError(f"labels of phantoms must be folder names that differ by more than case, not {labels}")
    settings = dict(version=1, **kind, subjects_per_class=subjects_per_class, seed=seed, image_size=size, labels=labels)
    plans = {name: list(_plan(name, labels, subjects_per_class, seed)) for name in folders}
    marker, done = root / "phantoms.json", {**settings, "complete": True}
    told = _told(marker)
    if told == done:
        wanted = [folder / row[0] for name, folder in folders.items() for row, _ in plans[name]]
        if all(path.is_file() for path in [*wanted, *(folder / "manifest.csv" for folder in folders.values())]):
            return
    earlier: tuple[str, ...] = ()
    if told is not None:  # where it tells nothing, it was another version, whose folders are the same
        earlier = SPLIT_ENTRIES if told.get("kind") in [*PICTURES] else ("images", "audio")
    here = {path.name: path for path in root.iterdir() if not path.name.startswith(".")} if root.is_dir() else {}
    is_root = root in folders.values()
    foreign = (here.keys() & set(SPLIT_ENTRIES if is_root else folders)) - set(earlier)
    if is_root and not earlier:  # root itself becomes the data set: other folders would be labels
        foreign = set(here)
    if foreign:
        raise UserError(
            f"{root} holds {' and '.join(sorted(foreign)[:3])} that no phantoms.json there tells of: "
            "choose another folder for phantoms"
        )
    for path in (here[name] for name in earlier if name in here):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    # Between the old files and the new: the remains of a killed run are known as phantoms and replaced by the next.
    with new_file(marker) as file:
        file.write(json.dumps(done | {"complete": False}, indent=2).encode())
    for name, folder in folders.items():
        _write_modality(folder, name, plans[name], size)
    with new_file(marker) as file:
        file.write(json.dumps(done, indent=2).encode())


def _told(marker: Path) -> dict[str, Any] | None:
    """What ``phantoms.json`` says, nothing where it is damaged; None where there is none."""
    try:
        told = read_json(marker)
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def write_phantoms(
    root: Path, subjects_per_class: int = 60, seed: int = 0, image_size: int = 128, labels: Sequence[str] = LABELS
) -> tuple[Path, Path]:
    """Write X-rays and coughs as ordinary files: root/{images,audio}/{train,test}/LABEL/NAME, a manifest.csv in each.

    The manifests have the columns path, label, subject, split. A quarter of a label's subjects has two files and a
    quarter is for testing; no subject is in two splits or in both modalities. The same arguments give the same bytes.
    A complete set made with the same arguments is left as it is; another or unfinished set of phantoms is replaced.
    `root/phantoms.json` says which set it is and, written last, that it is complete.
    Needs `subjects_per_class` >= 2 (per label and modality), `seed` >= 0, `image_size` >= 8 (pixels a side); `labels`
    become folder names, and the one at position i has the content of label index i. Returns root/images and root/audio.
    Raises UserError if an argument is out of range, or root holds images or audio that are not phantoms.

    Example:
        >>> import mmgen
        >>> images, audio = mmgen.write_phantoms("new/phantoms", subjects_per_class=4, image_size=32)
        >>> sorted(path.name for path in images.iterdir())
        ['manifest.csv', 'test', 'train']
    """
    root, labels = Path(root), [str(label) for label in labels]
    folders = {name: root / name for name in ("images", "audio")}
    _write_set(root, folders, subjects_per_class, seed, image_size, labels)
    return folders["images"], folders["audio"]


def write_phantom_images(
    root: Path,
    kind: Literal["lesions", "brains"],
    subjects_per_class: int = 40,
    seed: int = 0,
    image_size: int = 64,
    labels: Sequence[str] | None = None,
) -> Path:
    """Write pictures of one kind as ordinary files: root/{train,test}/LABEL/NAME.png and root/manifest.csv.

    Lesions are RGB, brains grey; `labels` are by default those of the kind, LESIONS or BRAINS. All else is as
    :func:`write_phantoms` says, but root itself is the data set: without `phantoms.json` it must be new or empty.
    Returns root. Raises UserError if an argument is out of range, or root holds files that are not phantoms.

    Example:
        >>> import mmgen
        >>> root = mmgen.write_phantom_images("new/brains", kind="brains", subjects_per_class=4)
        >>> sorted(path.name for path in root.iterdir())
        ['manifest.csv', 'phantoms.json', 'test', 'train']
    """
    if kind not in PICTURES:
        raise UserError(f"phantom pictures are of the kinds {', '.join(PICTURES)}, not {kind}")
    root, labels = Path(root), [str(label) for label in (PICTURES[kind] if labels is None else labels)]
    _write_set(root, {kind: root}, subjects_per_class, seed, image_size, labels, kind=kind)
    return root
