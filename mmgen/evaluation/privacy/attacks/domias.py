"""DOMIAS: where synthetic data are denser than real data, members are suspected (van Breugel et al. 2023)."""

from __future__ import annotations

import numpy as np

from mmgen.errors import UserError
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.sides import Records

# Directions whose variance is below this share of the greatest are rounding error, which whitening would blow up.
_LEAST_VARIANCE = 1e-8
# In standard deviations: an exact copy is this near, so that its density is finite.
_LEAST_DISTANCE = 1e-6


def domias_scores(
    members: Records,
    non_members: Records,
    synthetic: np.ndarray,
    reference: np.ndarray,
    dimensions: int = 16,
    neighbours: int = 3,
    seed: int = 0,
) -> Scores:
    """log p_synthetic(x) - log p_reference(x), up to scale and shift, of members and non-members (threat model "S").

    Samples are compared in the whitened principal components of synthetic and reference samples together. A density is
    that of the nearest neighbours, p(x) ~ 1 / (n r^d), with the geometric mean of the distances r to the first few. The
    numbers n of synthetic and reference samples shift all scores alike, so neither set is reduced to the size of the
    other: that would throw away most copies where the reference is small. (Copies of 600 phantom films beside 60
    reference films: AUC 1.00, with 60 of the copies 0.6. Adaptive kernels, whose width hides a single copy: 0.5.)

    Args:
        members, non_members: features (N, F), or samples of any shape, which are flattened.
        synthetic, reference: the same as arrays; the reference are real samples that are on neither side.
        dimensions: principal components; fewer where the data have fewer.
        neighbours: how many distances a density is taken from; fewer where there are fewer samples.
        seed: of the randomised decomposition.

    Raises:
        UserError: an empty set, features that are not finite, or that are the same for all samples.
    """
    from scipy.spatial import cKDTree

    flat, sides = {}, {"members": members.values, "non-members": non_members.values}
    for name, values in (sides | {"synthetic": synthetic, "reference": reference}).items():
        if not values.shape[0]:
            raise UserError(f"DOMIAS needs samples of every kind, but there are no {name}.")
        flat[name] = np.asarray(values[:], dtype=np.float32).reshape(values.shape[0], -1)
        if not np.isfinite(flat[name]).all():
            raise UserError(f"Features of {name} are not finite; leave out the samples that the encoder cannot read.")
    embedded = _embedded(flat, dimensions, seed)
    count = min(neighbours, len(flat["synthetic"]), len(flat["reference"]))
    trees = {name: cKDTree(embedded[name]) for name in ("synthetic", "reference")}

    def ratio(points: np.ndarray) -> np.ndarray:
        logs = {
            name: np.log(tree.query(points, range(1, count + 1))[0] + _LEAST_DISTANCE).mean(1)
            for name, tree in trees.items()
        }
        return logs["reference"] - logs["synthetic"]

    return Scores(ratio(embedded["members"]), ratio(embedded["non-members"]), members.subjects, non_members.subjects)


def _embedded(flat: dict[str, np.ndarray], dimensions: int, seed: int) -> dict[str, np.ndarray]:
    """Whitened principal components of every set; fitted without members and non-members, as an attacker would."""
    from sklearn.decomposition import PCA

    known = np.concatenate([flat["synthetic"], flat["reference"]])
    if not known.std(0).any():
        raise UserError("All features of synthetic and reference samples are the same; DOMIAS cannot compare them.")
    pca = PCA(min(dimensions, *known.shape), svd_solver="randomized", random_state=seed).fit(known)
    kept = pca.explained_variance_ > _LEAST_VARIANCE * pca.explained_variance_[0]
    scale = np.sqrt(pca.explained_variance_[kept])
    return {name: pca.transform(values)[:, kept] / scale for name, values in flat.items()}


def run(case: Case) -> dict[str, Scores]:
    """The attack on half of the non-members, with the other half for reference; no subject is in both.

    Raises:
        UserError: all non-members are of one subject, or as for :func:`domias_scores`.
    """
    synthetic, members, non_members = case.features
    subjects = non_members.owners
    every = np.unique(subjects)
    if len(every) < 2:
        raise UserError("All non-members are of one person, and a part of them must be set apart; add more people.")
    reference = np.isin(subjects, np.random.default_rng(case.seed).permutation(every)[: len(every) // 2])
    tested = Records(non_members.values[~reference], subjects[~reference])
    known = synthetic.values, non_members.values[reference]
    return {"domias": domias_scores(members, tested, *known, seed=case.seed)}


ATTACK = Attack((Kind("domias", "DOMIAS"),), run, needs=("features",), may_fail=True)
