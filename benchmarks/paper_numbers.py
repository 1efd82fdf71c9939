"""What the papers report: numbers that ours stand beside, and how their data sets are known."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Masked autoencoder's paper, Section IV-C: KL divergence of synthetic from real data, and of two random parts of the
# real data. It does not say of which modality.
KL = (6.84, 5e-4)
# The same section: accuracy on coughs of a ResNet, of a depth that is not named.
COUGHS = {"real": 0.614, "synthetic": 0.62}
# MedSynth's paper, Section 4.5: what it reads from its Fig. 3, which has no numbers, for both attacks and data sets.
LOGAN = "below chance"

# Labels that MedSynth's data sets are known by, in small letters without signs.
DATASETS = {
    "isic": {"bcc", "bkl", "df", "mel", "nv", "vasc"},
    "alzheimer": {"milddemented", "moderatedemented", "nondemented", "verymilddemented"},
}

Set = tuple[str, int | None]
"""Training set: method ("full" is all real data) and images a class, None where the paper gives no number."""

# MedSynth's paper, Table 1: AUC and accuracy.
TABLE1: dict[str, dict[Set, tuple[float, float]]] = {
    "alzheimer": {
        ("dm", 50): (0.6590, 0.7934),
        ("dm", 100): (0.7173, 0.7407),
        ("it_gan", 50): (0.7884, 0.7954),
        ("it_gan", 100): (0.8211, 0.8348),
        ("dim", 50): (0.8935, 0.8946),
        ("dim", 100): (0.9028, 0.9113),
        ("medsynth", 50): (0.9490, 0.9558),
        ("medsynth", 100): (0.9627, 0.9711),
        ("dcgan", None): (0.9007, 0.9118),
        ("full", None): (0.9719, 0.9883),
    },
    "isic": {
        ("dm", 50): (0.7790, 0.4124),
        ("dm", 100): (0.8065, 0.4446),
        ("it_gan", 50): (0.7724, 0.7762),
        ("it_gan", 100): (0.8053, 0.8103),
        ("dim", 50): (0.8187, 0.8233),
        ("dim", 100): (0.8294, 0.8325),
        ("medsynth", 50): (0.8312, 0.8554),
        ("medsynth", 100): (0.8493, 0.8722),
        ("dcgan", None): (0.8257, 0.8492),
        ("full", None): (0.8619, 0.8895),
    },
}


def dataset_of(labels: Iterable[str]) -> str | None:
    """Which of MedSynth's data sets has these labels, if one has."""
    plain = {re.sub(r"[^a-z]", "", label.lower()) for label in labels}
    return next((name for name, known in DATASETS.items() if known <= plain), None)


def paper_classifier(method: str) -> str:
    """The classifier of a method's line in Table 1 (Section 4.3); of the original data's, which the paper does not
    name, we take the one that it tunes for its own method."""
    return "vit_lora" if method in ("medsynth", "medsynth_real", "full") else "resnet18"


def table1(
    dataset: str | None, classifier: str, method: str, images_per_class: int | None
) -> tuple[float, float] | None:
    """AUC and accuracy in Table 1 of a training set, if it is there with this classifier. MedSynth has one line there,
    with a generator that starts from real images by its text and needs none by its claim: it stands beside both."""
    if dataset is None or classifier != paper_classifier(method):
        return None
    return TABLE1[dataset].get(("medsynth" if method == "medsynth_real" else method, images_per_class))
