"""The inputs of an evaluation or an audit: synthetic data of any origin, and both sides of the real data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmgen.data.audio import AUDIO_SUFFIXES
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.decoded import UnusableFile
from mmgen.data.images import IMAGE_SUFFIXES, ImageSettings
from mmgen.data.labels import rename_labels
from mmgen.data.loading import load
from mmgen.data.manifest import read_manifest
from mmgen.data.opening import read_json
from mmgen.data.samples import Samples, channel_statistics
from mmgen.data.settings import Settings, kind_of, settings_from_dict
from mmgen.data.sources import Reading
from mmgen.data.writing.layout import LARGEST_DOCUMENT, patches_of
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.unfinished import INCOMPLETE
from mmgen.errors import UserError, first_few, refuse_broken_package, shown
from mmgen.evaluation.privacy.sides import Side
from mmgen.models.modality import Modality
from mmgen.names import LabelKind

DOCUMENT = "dataset.json"
# Where phantoms and many collections keep a modality.
FOLDERS = {"image": "images", "audio": "audio"}
# Of foreign pictures: larger ones are reduced to this side, smaller ones are refused.
LARGEST_SIDE, SMALLEST_SIDE = 224, 8
Paths = str | Path | Mapping[str, str | Path] | Sequence[str]


def read_sides(
    first: Mapping[str, Path],
    second: Mapping[str, Path],
    settings: Mapping[str, Settings],
    splits: tuple[str, str],
    reading: Reading,
) -> tuple[Side, Side]:
    """Samples of each modality of two sides, with the names of whose they are.

    Where the data have splits, that of ``splits`` is read, otherwise everything; data without splits that are named for
    both are split as a recipe with the reading's seed splits them. "train" is what a recipe with this seed would train
    on: without the part that it holds out where there is no "val" split; "val" is that part.

    Raises:
        UserError: data that cannot be read, or lack the split.
    """
    same = {name: path.resolve() for name, path in first.items()} == {n: p.resolve() for n, p in second.items()}
    rule = "cut" if same else "trained"
    one, other = (
        side_of(load(reading.sources(paths, settings), reading, split, rule=rule, foreign=True))
        for paths, split in zip((first, second), splits, strict=True)
    )
    return one, other


def side_of(samples: Mapping[str, Samples]) -> Side:
    """These samples with the names of whose they are."""
    names = {name: None if s.subjects is None else s.subjects.astype(str) for name, s in samples.items()}
    return Side(samples, names)


def parse_paths(paths: Paths, names: Sequence[str], flag: str) -> dict[str, Path]:
    """Paths by modality from a mapping, or from a flag's values: NAME=PATH for each, or one path.

    One path is that of the only modality, or of a folder with both images/ and audio/ in it.

    Raises:
        UserError: a modality without a path, or one that is not wanted.
    """
    values = [paths] if isinstance(paths, str | Path) else list(paths)
    if isinstance(paths, Mapping):
        values = [f"{name}={path}" for name, path in paths.items()]
    named = {name: Path(path) for name, mark, path in (str(v).partition("=") for v in values) if mark and name in names}
    if not named and len(values) == 1:
        named = _places(Path(values[0]), names)
        if len(set(named.values())) < len(names):
            named = {}
    if set(named) != set(names) or (len(names) > 1 and len(values) not in (1, len(names))):
        example = " ".join(f"{name}=PATH" for name in names)
        raise UserError(f"{flag} needs a path for {' and '.join(names)}; give {flag} {example}.")
    return {name: named[name] for name in names}


def synthetic_settings(path: Path, names: Sequence[str] = ()) -> dict[str, Settings]:
    """How the files of a synthetic set become arrays, for the named modalities or all it has.

    A data set of this library says it itself. In any other folder or CSV files are pictures (of the size of the first
    one, at most 224) or sounds (with the default settings).

    Raises:
        UserError: nothing is there, or not of this kind.
    """
    document = path / DOCUMENT
    if not document.is_file():
        return _foreign_settings(path, names)
    try:
        about = read_json(document, LARGEST_DOCUMENT)
        settings = {str(name): settings_from_dict(values) for name, values in about["preprocessing"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{document} does not say how its files are read ({shown(error)}); make it again.") from error
    if missing := [name for name in names if name not in settings]:
        raise UserError(
            f"{path} has the modalities {first_few(settings)}, not {', '.join(missing)}; correct --modality."
        )
    return {name: settings[name] for name in names or settings}


def read_synthetic(
    path: Path,
    settings: Mapping[str, Settings],
    label_map: Mapping[str, str],
    skip_bad: bool = False,
    labels: LabelKind = "hard",
) -> dict[str, Samples]:
    """Samples of a synthetic set of any origin, all splits together, with soft labels if those are wanted.

    Raises:
        UserError: it cannot be read, holds values that are not numbers, or lacks soft labels.
    """
    if (path / DOCUMENT).is_file():
        own = read_dataset(path, settings, labels == "soft")
        for name, samples in own.items():
            values = samples.values[:]
            if values.dtype.kind == "f" and (wrong := int((~np.isfinite(values).all(axis=(1, 2, 3))).sum())):
                raise UserError(
                    f"{wrong} of {len(samples)} samples of '{name}' in {path} hold values that are not numbers; "
                    "generate it again."
                )
        return {name: rename_labels(samples, label_map) for name, samples in own.items()}
    if labels == "soft":
        raise UserError(f"{path} is no data set of this library, which may hold soft labels; leave out --labels soft.")
    places, reading = _places(path, list(settings)), Reading(label_map, skip_bad=skip_bad)
    return load(reading.sources(places, settings), reading, foreign=True)


def patches_in(path: Path) -> dict[str, tuple[int, int]]:
    """:func:`mmgen.data.writing.layout.patches_of` a synthetic set whose settings could be read; {} of foreign ones."""
    document = path / DOCUMENT
    return patches_of(read_json(document, LARGEST_DOCUMENT)) if document.is_file() else {}


def data_sets_of(run: Path) -> dict[str, Path]:
    """Data sets in a run's folder ``synthetic``, or directly in a folder of some, by their path relative to it."""
    found = sorted((run / "synthetic").glob(f"**/{DOCUMENT}")) or sorted(run.glob(f"*/{DOCUMENT}"))
    return {path.parent.relative_to(run).as_posix(): path.parent for path in found}


def joined(sets: Sequence[Samples]) -> Samples:
    """Samples of several sets, numbered on; the labels are those of the first, others by name. Soft labels stay where
    all sets have them."""
    if len(sets) == 1:
        return sets[0]
    names = list(dict.fromkeys(name for samples in sets for name in samples.label_names))
    places = [np.array([names.index(name) for name in s.label_names]) for s in sets]
    offsets = np.cumsum([0, *(int(s.rows.max()) + 1 for s in sets[:-1])])
    return Samples(
        np.concatenate([s.values[:] for s in sets]),
        np.concatenate([own[s.labels] for own, s in zip(places, sets, strict=True)]),
        tuple(names),
        np.concatenate([s.rows + offset for s, offset in zip(sets, offsets, strict=True)]),
        probabilities=_joined_probabilities(sets, places, len(names)),
    )


def _joined_probabilities(sets: Sequence[Samples], places: Sequence[np.ndarray], labels: int) -> np.ndarray | None:
    """Soft labels (N, labels) of all sets; a set's own labels stand at its ``places``."""
    if any(s.probabilities is None for s in sets):
        return None
    parts = [np.zeros((len(s), labels), np.float32) for s in sets]
    for part, own, s in zip(parts, places, sets, strict=True):
        part[:, own] = s.probabilities
    return np.concatenate(parts)


def modality_of(name: str, settings: Settings, real: Samples) -> Modality:
    """A modality for data that no model of this library has: normalised by the real samples."""
    mean, std = channel_statistics(real.at_most().values)
    if kind_of(settings).is_picture:
        return Modality(name, settings.shape, (8, 8), mean, std, value_range=(0.0, 255.0))
    return Modality(name, settings.shape, (10, 10), mean, std)


def _places(path: Path, names: Sequence[str]) -> dict[str, Path]:
    """Where the modalities of a path are: in its folders images/ and audio/ if it has both, otherwise all there."""
    if all((path / folder).is_dir() for folder in FOLDERS.values()):
        return {name: path / FOLDERS.get(name, name) for name in names}
    return dict.fromkeys(names, path)


def _foreign_settings(path: Path, names: Sequence[str]) -> dict[str, Settings]:
    if not path.exists():
        raise UserError(f"There is nothing at {path}; give a synthetic data set, a folder of one or a CSV.")
    if (path / INCOMPLETE).exists():
        raise UserError(f"The data set {path} is not finished; give the command that makes it once more.")
    if any((path / model / "config.json").is_file() for model in (".", "model")):
        raise UserError(f"{path} holds a model and no synthetic data set; make one with mmgen generate.")
    wanted = list(names) or list(_SUFFIXES)
    held = [name for name in wanted if _has_files(_places(path, wanted)[name], _SUFFIXES[name])]
    if missing := [name for name in names if name not in held]:
        raise UserError(f"{path} holds no {' and no '.join(_FILES[name] for name in missing)}; correct --modality.")
    if not held:
        raise UserError(f"{path} holds neither pictures nor sounds in folders by label; give a synthetic data set.")
    places = _places(path, held)
    return {name: AudioSettings() if name == "audio" else _picture_settings(places[name]) for name in held}


_SUFFIXES = {"image": tuple(IMAGE_SUFFIXES), "audio": tuple(AUDIO_SUFFIXES)}
_FILES = {"image": "pictures", "audio": "sounds"}


def _has_files(path: Path, suffixes: tuple[str, ...]) -> bool:
    if path.is_dir():
        return any(file.suffix.lower() in suffixes for file in path.rglob("*"))
    text = path.read_text(encoding="utf-8", errors="replace").lower()
    return any(suffix in text for suffix in suffixes)


def _picture_settings(path: Path) -> ImageSettings:
    """Of the size and colours of the first picture that can be read; the others are named when all are read."""
    from PIL import Image

    from mmgen.data.formats.bounded import open_picture
    from mmgen.data.formats.dicom import is_dicom, read_dicom

    manifest = read_manifest(path, IMAGE_SUFFIXES)
    for row in range(len(manifest)):
        try:
            with manifest.open(row) as file:
                picture = read_dicom(file, LARGEST_SIDE)[0] if is_dicom(file.read(132)) else open_picture(file)
                with picture:
                    side, is_grey = min(picture.size), Image.getmodebase(picture.mode) == "L"
        except (OSError, ValueError, SyntaxError, UnusableFile) as error:
            refuse_broken_package(error)
            continue
        if side < SMALLEST_SIDE:
            raise UserError(
                f"The picture {manifest.name(row)} is {side} pixels wide or high; at least {SMALLEST_SIDE} are needed."
            )
        return ImageSettings(min(side, LARGEST_SIDE), 1 if is_grey else 3)
    raise UserError(f"None of the {len(manifest)} pictures in {path} can be read; repair or replace them.")
