"""Flags of everything that condenses a labelled image set: commands, recipes and the comparison of methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmgen.cli.data_flags import CachedDataFlags
from mmgen.names import OWN_BACKBONE, AugmentationName, BudgetName, ChooseBy, InputPrior, MatchingForm, Precision


@dataclass(frozen=True, kw_only=True)
class ImageSetFlags(CachedDataFlags):
    """Base of what reads a labelled image set to make it smaller."""

    image_size: int | None = None
    """Side of the images in pixels, a multiple of 16 from 32 to 256; the preset's if absent."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; as the images are if absent."""
    augmentation: AugmentationName | None = None
    """Changes of these pictures that leave their meaning: lesion, radiograph (never mirrored), none ...; if
    absent lesion for colour and radiograph for grey images."""
    backbone: str = OWN_BACKBONE
    """ViT that is tuned: mae pretrains one on the images, any other name is a timm model's (its weights come from the
    hub, or NAME@FILE from a file)."""
    backbone_weights: Path | None = None
    """File of that timm model's weights, instead of the hub."""
    seed: int = 0
    """Seed of everything."""
    mixed_precision: Precision = "auto"
    """bf16 where the hardware has it, no, or auto; critics compute in fp32 in any case."""


@dataclass(frozen=True, kw_only=True)
class CondensationFlags(ImageSetFlags):
    """Base of what condenses an image set, by MedSynth if no other method is chosen."""

    preset: BudgetName = "quick"
    """Sizes of model and images, and lengths of the trainings."""
    input_prior: InputPrior = "class"
    """Start of generation: class, statistics of each class; mae, draws of a masked autoencoder, which takes as long to
    train as the method mae; both can be shared. Or real images, as in the paper."""
    prior_floor: int = 10
    """Least images of a class, and least subjects whose statistics are stored as a class's own, with --input-prior
    class."""
    epochs_phase1: int | None = None
    """Passes over the data against the critic, if not the preset's length."""
    epochs_phase2: int | None = None
    """Passes over the data against critic and tuned ViT, if not the preset's length."""
    skip_phase1: bool = False
    """Train phase II alone, to see what phase I is worth."""
    batch_size: int | None = None
    """Images in one update over all processes, if not the preset's."""
    gan_weight: float | None = None
    """Weight lambda of the GAN's loss in phase II, if not the preset's."""
    mask_weight: float = 0.0
    """Weight of a penalty on the share of the input in the output."""
    matching: MatchingForm = "energy"
    """Comparison in phase II: energy (each class's distribution), log_softmax of pairs, or logits as printed."""
    choose_from: int | None = None
    """Draws of each class that a condensed set is chosen from, if not the preset's number; a set of more than
    half as many is not chosen, nor with 1."""
    choose_by: ChooseBy | None = None
    """How: mean (of the draws, in an untrained network) or teacher (draws that a network trained on the real images
    takes for their label, and that cover what it sees in them); the method's own way if absent."""
    hand_on_teacher: bool = False
    """The generator of mae carries the network that chooses, so that whoever has it can choose and label draws too; an
    audit attacks it."""
    adam_betas: tuple[float, float] | None = None
    """Betas of Adam for generator and critic, if not the preset's: 0 0.9 is usual, 0.9 0.999 the paper's."""
