"""Flags of the recipe that trains a cross-modal masked autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmgen.cli.data_flags import CachedDataFlags
from mmgen.models.generative import Sampling
from mmgen.models.mae_layers import FusionQuery
from mmgen.names import DecoderName, Precision
from mmgen.presets import PresetName


@dataclass(frozen=True, kw_only=True)
class MAEFlags(CachedDataFlags):
    """Train a cross-modal masked autoencoder, generate a synthetic data set, measure it."""

    images: Path | None = None
    """Folder with a subfolder for each label (or train/ and test/ above them), CSV, published data set, or shards.
    Phantoms if absent."""
    audio: Path | None = None
    """The same for recordings."""
    out: Path = Path("runs/mmae_covid")
    """Run folder."""
    preset: PresetName | None = None
    """Sizes of model and data; small if absent, tiny on phantoms."""
    decoder: DecoderName | None = None
    """Whether hidden patches are denoised, so that samples are made from labels, or predicted as their mean from real
    samples (mse, the paper's), if not the preset's choice."""
    epochs: int | None = None
    """Passes over the data, if not the preset's."""
    batch_size: int | None = None
    """Pairs in one update over all processes, if not the preset's."""
    accumulate: int = 1
    """Parts into which each process cuts its share of a batch to save memory."""
    lr: float | None = None
    """Peak learning rate, if not the preset's."""
    mask_ratio: float = 0.75
    """Hidden share of every sample, in training and generation."""
    fusion_query: FusionQuery | None = None
    """Where cross-attention takes its queries from, if not the preset's choice."""
    loss_coupling: Literal["decoupled", "joint"] = "decoupled"
    """One gradient and optimiser for each modality's loss, or for their sum."""
    image_weights: str | None = None
    """Start the image stream from a ViT: file or timm name, e.g. vit_base_patch16_224.mae with --preset base."""
    ema_decay: float = 0.0
    """Decay of a moving average of the weights that is kept, if not the preset's (0)."""
    single_modal: bool = True
    """Also train an autoencoder of each modality alone, to compare with."""
    per_class: int | None = None
    """Synthetic pairs of each label; as many as the largest real class if absent."""
    steps: int = Sampling.steps
    """Network passes a sample of a denoising model."""
    guidance: float = Sampling.guidance
    """How far a denoising model exaggerates the label; 1: not."""
    open: bool = True
    """Open the report in the browser at the end, where a person waits in a terminal with a display."""
    seed: int = 0
    """Seed of splits, weights, pairs and masks."""
    resume: Literal["latest"] | None = None
    """Go on from the run folder's last checkpoint."""
    mixed_precision: Precision = "auto"
    """bf16 where the hardware has it, no, or auto."""
    refuse_unpaired: bool = False
    """Stop where one side lacks a label, instead of leaving the label out."""
    fast: bool = False
    """Short attacks in the audit, which are too little for a release; the preset tiny always has short ones."""
