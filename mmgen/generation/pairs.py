"""Generation with a cross-modal masked autoencoder: same-label real partners in, labelled synthetic tuples out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from mmgen.artifacts.models import load_model, model_settings
from mmgen.data.loading import load
from mmgen.data.samples import Samples
from mmgen.data.sources import Reading
from mmgen.data.threads import cut
from mmgen.errors import UserError
from mmgen.generation.batches import SyntheticBatch, run_batches
from mmgen.generation.plan import make_plan
from mmgen.models.generative import GenerativeModel, MaskRatio


def generate_pairs(
    model: GenerativeModel | str | Path,
    samples: Mapping[str, Samples | str | Path],
    per_class: int | None = None,
    mask_ratio: MaskRatio = 0.75,
    seed: int = 0,
    paste_visible: bool = False,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
    segments: int = 1,
) -> Iterator[SyntheticBatch]:
    """Make labelled synthetic tuples from same-label real ones.

    Every patch is decoded, so no real pixel is copied, unless ``paste_visible``. A modality at mask ratio 1 is made
    from the others alone and needs no samples. The result is a function of (model, samples, per_class, seed): sample
    ``i`` is the same however the work is shared out.

    Args:
        model: a model, its folder, or a hub id.
        samples: real samples by modality: decoded, or a folder or CSV that is decoded as the model was trained.
        per_class: tuples of each label; None: as many as the largest real class.
        mask_ratio: hidden share, one number or one a modality.
        batch_size: samples decoded at once.
        device: where to compute; the accelerator if there is one.
        shard: (rank, world): this process makes every ``world``-th batch.
        segments: most segments of a sound; see :func:`mmgen.generation.plan.make_plan`.

    Yields:
        :class:`SyntheticBatch` in the order of the plan.

    Raises:
        UserError: see :func:`make_plan` and :func:`mmgen.artifacts.models.load_model`.

    Example:
        >>> import mmgen
        >>> folders = {"image": "phantoms/images", "audio": "phantoms/audio"}
        >>> for batch in mmgen.generate_pairs("runs/covid", folders, per_class=3, seed=1):
        ...     print(batch.values["image"].shape, batch.values["audio"].shape, batch.labels.tolist())
        (6, 1, 32, 32) (6, 1, 40, 40) [0, 0, 0, 1, 1, 1]
    """
    if isinstance(model, str | Path):
        model = load_model(model)
    if not model.ratios(mask_ratio):
        raise UserError("This model makes images without real ones; call its sample(images_per_class, seed).")
    decoded = {name: value for name, value in samples.items() if isinstance(value, Samples)}
    paths = {name: Path(value) for name, value in samples.items() if not isinstance(value, Samples)}
    if paths:
        decoded |= read_sources(model, paths)
    plan = make_plan(model, decoded, per_class, mask_ratio, seed, paste_visible, segments)
    # Batches are cut the same way whatever the shard, so that numbers are equal to the bit.
    batches = cut(range(len(plan)), batch_size)[shard[0] :: shard[1]]
    yield from run_batches(model, plan, batches, device, progress)


def read_sources(
    model: GenerativeModel, paths: Mapping[str, Path], reading: Reading | None = None, split: str | None = "train"
) -> dict[str, Samples]:
    """Real samples, decoded as the model's training data were; labels are matched across modalities.

    ``split`` is used where the data have splits, otherwise everything. Labels that the model was not trained on are
    left out. Both are logged.

    Args:
        paths: where each modality is.
        reading: how the data lie, label names, bad files and cache; splits are not made.

    Raises:
        UserError: a modality that the model does not have; see :func:`mmgen.data.loading.load`.
    """
    settings, labels = model_settings(model), list(model.class_names)
    if unknown := [name for name in paths if name not in settings]:
        raise UserError(f"The model has the modalities {list(settings)}, not {unknown}.")
    reading = reading or Reading()
    return load(reading.sources(paths, settings), reading, split, labels) if paths else {}
