"""Names that users choose from: what flags offer, known without loading what they name."""

from __future__ import annotations

from typing import Literal

NetworkName = Literal["resnet18", "densenet121", "convnet", "vit_lora"]
"""Classifiers of pictures, and of log-mels as pictures of one channel."""
ClassifierName = Literal[NetworkName, "mfcc"]
"""All classifiers; "mfcc" is of sounds."""
LabelKind = Literal["hard", "soft"]
"""What classifiers learn of a synthetic sample: its label, or a teacher's probabilities of all labels."""
AugmentationName = Literal["none", "lesion", "radiograph", "spectrogram"]
MethodName = Literal["subset", "dm", "it_gan", "dim", "dcgan", "mae", "medsynth"]
METHOD_TITLES: dict[MethodName, str] = {
    "subset": "subset of the real images",
    "dm": "distribution matching (DM)",
    "it_gan": "IT-GAN latents",
    "dim": "DiM generator",
    "dcgan": "conditional DCGAN",
    "mae": "denoising masked autoencoder",
    "medsynth": "MedSynth generator",
}
"""Readable names of what each method makes."""
BudgetName = Literal["quick", "small", "paper"]
Selection = Literal["random", "herding", "k_center"]
ChooseBy = Literal["mean", "teacher"]
"""How a condensed set is chosen from draws: by their mean in the features of an untrained network, or by what a network
trained on the real images says of them."""
InputPrior = Literal["class", "mae", "real"]
MatchingForm = Literal["energy", "log_softmax", "logits"]
DecoderName = Literal["denoise", "mse"]
Precision = Literal["auto", "no", "bf16"]
OWN_BACKBONE = "mae"
"""Name of the ViT that is pretrained on the images themselves, which needs neither network nor files."""
IMAGE = "image"
"""Name of the one modality of a condensed set."""
MODALITY_FLAGS = {"image": "images", "audio": "audio"}
"""The flag that says where each modality's real samples are."""
