"""The blind baseline: how well members are told from non-members without the model (Das et al. 2024).

Where both sides of an audit come from different places or times, any attack sees that difference too. What a classifier
achieves that never saw the model or its samples is no membership.
"""

from __future__ import annotations

import numpy as np

from mmgen.errors import UserError
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.results import MembershipResult
from mmgen.evaluation.privacy.sides import Records

FOLDS, COMPONENTS = 5, 32


def blind_scores(members: Records, non_members: Records, seed: int = 0) -> Scores:
    """Scores of a logistic regression on features (N, F) that was trained on other subjects' records, by
    cross-validation.

    Raises:
        UserError: fewer subjects on a side than :data:`FOLDS`.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.concatenate([np.asarray(side.values[:], np.float32) for side in (members, non_members)])
    sides = np.repeat([1, 0], [len(members), len(non_members)])
    subjects = np.concatenate(
        [
            np.unique(members.owners, return_inverse=True)[1],
            np.unique(non_members.owners, return_inverse=True)[1] + len(members),  # numbers that no member has
        ]
    )
    fewest = min(len(np.unique(subjects[sides == side])) for side in (0, 1))
    if fewest < FOLDS:
        raise UserError(f"A side with records of {fewest} people only cannot be cross-validated; {FOLDS} are needed.")
    scores = np.empty(len(sides))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(features, sides, subjects):
        components = min(COMPONENTS, features.shape[1], len(train) - 1)
        model = make_pipeline(
            PCA(components, random_state=seed),
            StandardScaler(),
            LogisticRegression(C=0.1, class_weight="balanced", max_iter=500),
        ).fit(features[train], sides[train])
        scores[test] = model.decision_function(features[test])
    return Scores(scores[: len(members)], scores[len(members) :], members.subjects, non_members.subjects)


def run(case: Case) -> dict[str, MembershipResult]:
    """How far both sides differ in the feature space anyway."""
    _, members, non_members = case.features
    return {"blind_baseline": case.result(blind_scores(members, non_members, case.seed), "none", counts=False)}


def enough_subjects(case: Case) -> bool:
    """Whether both sides can be cross-validated."""
    return min(len(np.unique(side.owners)) for side in (case.members, case.non_members)) >= FOLDS


ATTACK = Attack(
    (Kind("blind_baseline", "both sides without the model", measures="difference"),),
    run,
    needs=("features",),
    possible=enough_subjects,
    threat="none",
)
