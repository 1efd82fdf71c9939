"""Labels across modalities: what an X-ray set and a cough set have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmgen.data.manifest import Manifest, label_key
from mmgen.errors import UserError


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
    labels = new_index[manifest.labels]
    return replace(manifest.select(labels >= 0), labels=labels[labels >= 0], label_names=tuple(names))
