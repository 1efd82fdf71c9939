"""The attacks of an audit, in the order in which they are run and judged. One more is its file and a line here."""

from __future__ import annotations

from mmgen.evaluation.privacy.attack import Attack, Kind
from mmgen.evaluation.privacy.attacks import (
    blind,
    closest_features,
    closest_views,
    copies,
    denoising_error,
    disguised_copies,
    domias,
    logan_black_box,
    logan_white_box,
    pass_through,
    reconstruction,
    reidentification,
    released_teacher,
    soft_labels,
)

ATTACKS: tuple[Attack, ...] = (
    copies.ATTACK,
    disguised_copies.ATTACK,
    reidentification.ATTACK,
    pass_through.ATTACK,
    closest_features.ATTACK,
    closest_views.ATTACK,
    domias.ATTACK,
    soft_labels.ATTACK,
    released_teacher.ATTACK,
    blind.ATTACK,
    logan_black_box.ATTACK,
    logan_white_box.ATTACK,
    reconstruction.ATTACK,
    denoising_error.ATTACK,
)
KINDS: dict[str, Kind] = {kind.key: kind for attack in ATTACKS for kind in attack.kinds}
LOGAN = tuple(kind.key for attack in (logan_black_box.ATTACK, logan_white_box.ATTACK) for kind in attack.kinds)
_NOUNS = {"": "records", "image": "images", "audio": "sounds", "joint": "tuples"}


def attack_name(key: str) -> str:
    """Readable name of an entry: "DOMIAS" for "domias", "DOMIAS, images" for "domias/image"."""
    kind = key.partition("/")[0]
    name = KINDS[kind].name if kind in KINDS else kind.replace("_", " ")
    return f"{name}, {noun(key)}" if "/" in key else name


def noun(key: str) -> str:
    """Plural of the records of an entry: "images" for "copies/image", "records" without a modality."""
    modality = key.partition("/")[2]
    return _NOUNS.get(modality, f"{modality} records")
