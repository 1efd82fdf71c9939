"""Labels across modalities: what an X-ray set and a cough set have in common, and how labels get other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmgen.data.manifest import Manifest, label_key
from mmgen.data.samples import Samples
from mmgen.errors import UserError, first_few


def match_labels(manifests: Mapping[str, Manifest]) -> tuple[dict[str, Manifest], dict[str, list[str]]]:
    """Restrict modalities to the labels that all of them have, compared without regard to case.

    Args:
        manifests: Manifest of each modality by the modality's name, K >= 1. A label without samples counts as absent.

    Returns:
        The restricted manifests, all with the same ``label_names`` (spelled as in the first modality), and for each
        label that was left out the modalities that lack it.

    Raises:
        UserError: if no label is common to all.
    """
    spellings: dict[str, dict[str, str]] = {}
    for modality, manifest in manifests.items():
        used = np.unique(manifest.labels)
        spellings[modality] = {label_key(manifest.label_names[index]): manifest.label_names[index] for index in used}
    every: dict[str, str] = {}
    for names in spellings.values():
        every = {**names, **every}
    lacking = {
        every[key]: [modality for modality, names in spellings.items() if key not in names] for key in sorted(every)
    }
    common = [key for key in sorted(every) if not lacking[every[key]]]
    if not common:
        listed = "; ".join(
            f"{modality}: {', '.join(names.values()) or 'none'}" for modality, names in spellings.items()
        )
        raise UserError(
            f"The modalities have no label in common ({listed}); rename the class folders or labels so that they agree."
        )

    names = tuple(every[key] for key in common)
    matched = {modality: keep_labels(manifest, names) for modality, manifest in manifests.items()}
    return matched, {label: modalities for label, modalities in lacking.items() if modalities}


def keep_labels(manifest: Manifest, names: Sequence[str]) -> Manifest:
    """The samples whose label is among ``names``, compared without regard to case, with ``names`` as label names."""
    keys = [label_key(name) for name in names]
    new_index = np.array([keys.index(key) if (key := label_key(name)) in keys else -1 for name in manifest.label_names])
    return _moved(manifest, new_index, names)


def parse_label_map(items: Sequence[str]) -> dict[str, str]:
    """{old: new} from texts OLD=NEW; the first "=" divides, NEW may be empty.

    Raises:
        UserError: if a text has no "=" or no OLD, or an OLD has two new names.
    """
    renames: dict[str, str] = {}
    for item in items:
        old, divider, new = (part.strip() for part in item.partition("="))
        if not divider or not old:
            raise UserError(f"'{item}' is no renaming of a label; write OLD=NEW, or OLD= to leave the label out.")
        if renames.setdefault(old, new) != new:
            raise UserError(f"The label '{old}' is renamed to '{renames[old]}' and to '{new}'; give it one new name.")
    return renames


def rename_labels(manifest: Manifest, renames: Mapping[str, str]) -> Manifest:
    """The samples under new labels; several labels with one new name become one.

    Args:
        manifest: What to rename; names of labels without samples are dropped.
        renames: New name by old name, compared without regard to case; the empty name leaves the samples out. All are
            applied at once, so that two labels can change places. A label that is called like a new name joins it,
            in the new name's spelling.

    Returns:
        The renamed samples in their order, with sorted ``label_names``; without any if all are left out.

    Raises:
        UserError: if one label, in two spellings, has two new names.
    """
    new_name: dict[str, str] = {}
    for old, new in renames.items():
        if label_key(new_name.setdefault(label_key(old), new)) != label_key(new):
            raise UserError(
                f"The label '{old}' is renamed to '{new_name[label_key(old)]}' and to '{new}'; give it one new name."
            )
    spellings: dict[str, str] = {}
    for name in [*renames.values(), *manifest.label_names]:
        spellings.setdefault(label_key(name), name.strip())
    keys = [label_key(new_name.get(key := label_key(name), key)) for name in manifest.label_names]
    used = {keys[index] for index in np.unique(manifest.labels)} - {""}
    position = {key: index for index, key in enumerate(sorted(used))}
    names = tuple(spellings[key] for key in position)
    return _moved(manifest, np.array([position.get(key, -1) for key in keys], dtype=np.int64), names)


def apply_label_map(manifests: Mapping[str, Manifest], renames: Mapping[str, str]) -> dict[str, Manifest]:
    """:func:`rename_labels` in every modality.

    Raises:
        UserError: if an old name is no label of any modality, two spellings of one have two new names, or a modality
            is left without samples.
    """
    if not renames:
        return dict(manifests)
    present = {label_key(label) for manifest in manifests.values() for label in manifest.label_names}
    unknown = [old for old in renames if label_key(old) not in present]
    if unknown:
        listed = "; ".join(f"{name}: {', '.join(manifest.label_names)}" for name, manifest in manifests.items())
        raise UserError(f"There is no label '{unknown[0]}' to rename (there are {listed}); correct the label map.")
    renamed = {name: rename_labels(manifest, renames) for name, manifest in manifests.items()}
    for name, manifest in renamed.items():
        if not len(manifest):
            labels = first_few(manifests[name].label_names)
            raise UserError(f"The label map leaves out every label of '{name}' ({labels}); keep one.")
    return renamed


def align_labels(samples: Samples, like: Samples) -> Samples:
    """The same samples with the label names of ``like``, in its order and spelling; names are compared as
    :func:`mmgen.data.manifest.label_key` does.

    Raises:
        UserError: a class of which only one of them has samples.
    """
    own, others = ({label_key(s.label_names[label]): label for label in np.unique(s.labels)} for s in (samples, like))
    for lacking, has, present in (("real", own, others), ("synthetic", others, own)):
        if missing := [key for key in has if key not in present]:
            source = samples if lacking == "real" else like
            names = first_few(source.label_names[has[key]] for key in missing)
            raise UserError(
                f"There are no {lacking} samples of {names}; give a class that has another name there the same one "
                "with --label-map OLD=NEW, or leave it out with --label-map OLD=."
            )
    places = {label_key(name): label for label, name in enumerate(like.label_names)}
    moved = np.array([places.get(label_key(name), -1) for name in samples.label_names])
    return _moved(samples, moved, like.label_names)


def _moved(samples: Manifest, places: np.ndarray, names: Sequence[str]) -> Manifest:
    """Samples under other labels: ``places`` (K,) are indices into ``names``, or -1 for labels that are left out.

    Soft labels follow: probabilities of labels that become one are added, those of labels that are left out go to the
    others in proportion, and where nothing is left the hard label is certain.
    """
    labels = places[samples.labels]
    kept = samples.select(labels >= 0)
    changes = {"labels": labels[labels >= 0], "label_names": tuple(names)}
    soft = getattr(kept, "probabilities", None)
    if soft is not None:
        moved = soft @ (places[:, None] == np.arange(len(names))).astype(np.float32)
        moved[moved.sum(1) <= 0] = np.eye(len(names), dtype=np.float32)[changes["labels"][moved.sum(1) <= 0]]
        changes["probabilities"] = moved / moved.sum(1, keepdims=True)
    return replace(kept, **changes)
