"""The blind baseline: how well members are told from others without the model (Das et al. 2024).

Where both sides of an audit come from different places or times, any attack sees that difference too. What a classifier
achieves that never saw the model or its samples is no membership.
"""

from __future__ import annotations

import numpy as np

from mmgen.errors import UserError
from mmgen.evaluation.privacy.copies import Records
from mmgen.evaluation.privacy.membership import Scores

FOLDS, COMPONENTS = 5, 32


def blind_scores(members: Records, others: Records, seed: int = 0) -> Scores:
    """Scores of a logistic regression on features (N, F) that was trained on other people's records, by
    cross-validation.

    Raises:
        UserError: fewer people on a side than :data:`FOLDS`.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.concatenate([np.asarray(side.values[:], np.float32) for side in (members, others)])
    sides = np.repeat([1, 0], [len(members), len(others)])
    people = np.concatenate([np.unique(members.owners, return_inverse=True)[1], _after(members, others)])
    fewest = min(len(np.unique(people[sides == side])) for side in (0, 1))
    if fewest < FOLDS:
        raise UserError(f"A side with records of {fewest} people only cannot be cross-validated; {FOLDS} are needed.")
    scores = np.empty(len(sides))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(features, sides, people):
        components = min(COMPONENTS, features.shape[1], len(train) - 1)
        model = make_pipeline(
            PCA(components, random_state=seed),
            StandardScaler(),
            LogisticRegression(C=0.1, class_weight="balanced", max_iter=500),
        ).fit(features[train], sides[train])
        scores[test] = model.decision_function(features[test])
    return Scores(scores[: len(members)], scores[len(members) :], members.people, others.people)


def _after(members: Records, others: Records) -> np.ndarray:
    """Whose record each of the others is, in numbers that no member has."""
    return np.unique(others.owners, return_inverse=True)[1] + len(members)
