"""What an evaluation or an audit reads: synthetic data of any origin, and both sides of the real data."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmgen.data.audio import AUDIO_SUFFIXES, AudioSettings
from mmgen.data.images import IMAGE_SUFFIXES, ImageSettings
from mmgen.data.manifest import Manifest
from mmgen.data.overview import Source, read_matched
from mmgen.data.prepare import Preparation, decode_files
from mmgen.data.samples import Samples, samples_of
from mmgen.data.settings import Settings, settings_from_dict
from mmgen.data.splits import with_validation
from mmgen.data.statistics import channel_statistics
from mmgen.data.writing.synthetic import read_dataset
from mmgen.errors import UserError
from mmgen.evaluation.privacy.sides import Side
from mmgen.models.modality import Modality

logger = logging.getLogger(__name__)

DOCUMENT = "dataset.json"
# Where phantoms and many collections keep a modality.
FOLDERS = {"image": "images", "audio": "audio"}
# Of foreign pictures: larger ones are reduced to this side.
LARGEST_SIDE = 224
Paths = str | Path | Mapping[str, str | Path] | Sequence[str]


@dataclass(frozen=True)
class Reading:
    """How real data are read.

    Attributes:
        source: what a path and settings become; says which layout and columns there are.
        how: label names, bad files and cache.
        seed: of the validation part that a training with this seed holds out; it is not read as training data.
    """

    source: Callable[[Path, Settings], Source] = Source
    how: Preparation = field(default_factory=Preparation)
    seed: int = 0

    def side(self, paths: Mapping[str, Path], settings: Mapping[str, Settings], split: str) -> Side:
        """Samples of each modality with the names of whose they are.

        Where the data have splits, ``split`` is read, otherwise everything. "train" is what a recipe with this seed
        would train on: without the part that it holds out where there is no "val" split; "val" is that part.

        Raises:
            UserError: data that cannot be read, or lack the split.
        """
        sources = {name: self.source(path, settings[name]) for name, path in paths.items()}
        samples, people = {}, {}
        for name, manifest in read_matched(sources, self.how.label_map, not self.how.skip_bad).items():
            chosen = manifest
            if manifest.splits is not None:
                # A test split alone is enough for a side that nothing was trained on.
                alone = split == "test"
                parts = manifest if alone else with_validation(manifest, self.how.validation_fraction, self.seed)
                chosen = parts.of_split(split)
            usable, files, _ = decode_files(name, chosen, settings[name], self.how.cache, self.how.skip_bad)
            samples[name] = samples_of(usable, files)
            people[name] = people_of(samples[name], usable)
        return Side(samples, people)


def people_of(samples: Samples, manifest: Manifest) -> np.ndarray | None:
    """(N,) names of whose sample each is, as text; None where subjects are unknown."""
    if manifest.subjects is None:
        return None
    order = np.argsort(manifest.origins)
    return manifest.subjects[order[np.searchsorted(manifest.origins[order], samples.rows)]].astype(str)


def parse_paths(paths: Paths, names: Sequence[str], flag: str) -> dict[str, Path]:
    """Paths by modality from a mapping, or from a flag's values: NAME=PATH for each, or one path.

    One path is that of the only modality, or of a folder with images/ and audio/ in it.

    Raises:
        UserError: a modality without a path, or one that is not wanted.
    """
    values = _path_values(paths)
    named = {name: Path(path) for name, mark, path in (str(v).partition("=") for v in values) if mark and name in names}
    if not named and len(values) == 1:
        whole = Path(values[0])
        named = {name: whole / FOLDERS.get(name, name) for name in names} if len(names) > 1 else {names[0]: whole}
        if len(names) > 1 and not all(path.exists() for path in named.values()):
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
    found = _own_settings(path) if (path / DOCUMENT).is_file() else _foreign_settings(path, names)
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{path} has the modalities {', '.join(found)}, not {', '.join(missing)}; correct --modality.")
    return {name: found[name] for name in names or found}


def read_synthetic(path: Path, settings: Mapping[str, Settings], label_map: Mapping[str, str]) -> dict[str, Samples]:
    """Samples of a synthetic set of any origin, all splits together.

    Raises:
        UserError: it cannot be read.
    """
    if (path / DOCUMENT).is_file():
        return read_dataset(path, settings)
    manifests = read_matched({name: Source(path, how) for name, how in settings.items()}, label_map)
    samples = {}
    for name, manifest in manifests.items():
        usable, files, _ = decode_files(name, manifest, settings[name], None, skip_bad=False)
        samples[name] = samples_of(usable, files)
    return samples


def data_sets_of(run: Path) -> dict[str, Path]:
    """Data sets in a run's folder ``synthetic``, by their path relative to the run."""
    found = sorted(path.parent for path in (run / "synthetic").glob("**/" + DOCUMENT))
    return {path.relative_to(run).as_posix(): path for path in found}


def joined(sets: Sequence[Samples]) -> Samples:
    """Samples of several sets, numbered on; the labels are those of the first, others by name."""
    if len(sets) == 1:
        return sets[0]
    names = list(dict.fromkeys(name for samples in sets for name in samples.label_names))
    labels = [np.array([names.index(name) for name in s.label_names])[s.labels] for s in sets]
    offsets = np.cumsum([0, *(int(s.rows.max()) + 1 for s in sets[:-1])])
    return Samples(
        np.concatenate([s.values[:] for s in sets]),
        np.concatenate(labels),
        tuple(names),
        np.concatenate([s.rows + offset for s, offset in zip(sets, offsets, strict=True)]),
    )


def modality_of(name: str, settings: Settings, real: Samples) -> Modality:
    """A modality for data that no model of this library has: normalised by the real samples."""
    mean, std = channel_statistics(real.at_most().values)
    if isinstance(settings, ImageSettings):
        return Modality(name, settings.shape, (8, 8), mean, std, value_range=(0.0, 255.0))
    return Modality(name, settings.shape, (10, 10), mean, std)


def _own_settings(folder: Path) -> dict[str, Settings]:
    try:
        about = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        return {str(name): settings_from_dict(values) for name, values in about["preprocessing"].items()}
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{folder / DOCUMENT} does not say how its files are read ({error}); make it again.") from error


def _foreign_settings(path: Path, names: Sequence[str]) -> dict[str, Settings]:
    from mmgen.data.manifest import read_manifest

    if not path.exists():
        raise UserError(f"There is nothing at {path}; give a synthetic data set, a folder of one or a CSV.")
    wanted = list(names) or [name for name, suffixes in _SUFFIXES.items() if _has_files(path, suffixes)]
    if not wanted:
        raise UserError(f"{path} holds neither pictures nor sounds in folders by label; give a synthetic data set.")
    found: dict[str, Settings] = {}
    for name in wanted:
        if name == "audio":
            found[name] = AudioSettings()
        else:
            found[name] = _picture_settings(read_manifest(path, IMAGE_SUFFIXES))
    return found


_SUFFIXES = {"image": tuple(IMAGE_SUFFIXES), "audio": tuple(AUDIO_SUFFIXES)}


def _has_files(path: Path, suffixes: tuple[str, ...]) -> bool:
    if path.is_dir():
        return any(file.suffix.lower() in suffixes for file in path.rglob("*"))
    text = path.read_text(encoding="utf-8", errors="replace").lower()
    return any(suffix in text for suffix in suffixes)


def _picture_settings(manifest: Manifest) -> ImageSettings:
    """Of the size and colours of the first picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with manifest.open(0) as file, Image.open(file) as picture:
            side, grey = min(picture.size), picture.mode in ("1", "L", "LA", "I", "I;16", "F")
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise UserError(f"The picture {manifest.name(0)} cannot be read ({error}); repair or remove it.") from error
    return ImageSettings(min(side, LARGEST_SIDE), 1 if grey else 3)


def _path_values(paths: Paths) -> list[str]:
    """Any form of paths as a flag has them."""
    if isinstance(paths, Mapping):
        return [f"{name}={path}" for name, path in paths.items()]
    return [str(paths)] if isinstance(paths, str | Path) else list(paths)
