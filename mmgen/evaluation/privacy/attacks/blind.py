"""The blind baseline: how well members are told from non-members without the model (Das et al. 2024).

Where both sides of an audit come from different places or times, any attack sees that difference too. What a classifier
achieves that never saw the model or its samples is no membership.
"""

from __future__ import annotations

import numpy as np

from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores

FOLDS, COMPONENTS = 5, 32


def run(case: Case) -> dict[str, Scores]:
    """A logistic regression on features that was trained on other subjects' records, by cross-validation.

    Nothing where a side has fewer subjects than :data:`FOLDS`.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _, members, non_members = case.features
    owners = [np.unique(side.owners, return_inverse=True)[1] for side in (members, non_members)]
    if min(len(np.unique(of_side)) for of_side in owners) < FOLDS:
        return {}
    features = np.concatenate([members.values, non_members.values])
    sides = np.repeat([1, 0], [len(members), len(non_members)])
    subjects = np.concatenate([owners[0], owners[1] + len(members)])  # numbers that no member has
    scores = np.empty(len(sides))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=case.seed)
    for train, test in folds.split(features, sides, subjects):
        components = min(COMPONENTS, features.shape[1], len(train) - 1)
        model = make_pipeline(
            PCA(components, random_state=case.seed),
            StandardScaler(),
            LogisticRegression(C=0.1, class_weight="balanced", max_iter=500),
        ).fit(features[train], sides[train])
        scores[test] = model.decision_function(features[test])
    sides = scores[: len(members)], scores[len(members) :]
    return {"blind_baseline": Scores(*sides, members.subjects, non_members.subjects)}


ATTACK = Attack(
    (Kind("blind_baseline", "both sides without the model", "difference"),), run, needs=("features",), threat="none"
)
