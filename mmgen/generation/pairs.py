"""Generation with a cross-modal masked autoencoder: same-label real partners in, labelled synthetic tuples out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from mmgen.artifacts.models import Model, decoding, load_model, model_settings
from mmgen.data.loading import load
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.data.sources import Reading
from mmgen.data.threads import cut
from mmgen.data.writing.writer import SyntheticSample
from mmgen.errors import UserError
from mmgen.generation.batches import SyntheticBatch, run_batches
from mmgen.generation.plan import Plan, describe_plan, describe_run, describe_sample, make_plan
from mmgen.generation.writing import OutputOptions, write_samples
from mmgen.models.cross_modal_mae import CrossModalMAE, MaskRatio


def generate_pairs(
    model: CrossModalMAE | str | Path,
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
    """
    if isinstance(model, str | Path):
        model = load_model(model)
    if not isinstance(model, CrossModalMAE):
        raise UserError("This model makes images without real ones; call its sample(images_per_class, seed).")
    decoded = {name: value for name, value in samples.items() if isinstance(value, Samples)}
    paths = {name: Path(value) for name, value in samples.items() if not isinstance(value, Samples)}
    if paths:
        decoded |= read_sources(model, paths)
    plan = make_plan(model, decoded, per_class, mask_ratio, seed, paste_visible, segments)
    # Batches are cut the same way whatever the shard, so that numbers are equal to the bit.
    batches = cut(range(len(plan)), batch_size)[shard[0] :: shard[1]]
    yield from run_batches(model, plan, decoded, batches, device, progress)


def read_sources(
    model: Model, paths: Mapping[str, Path], reading: Reading | None = None, split: str | None = "train"
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
    settings, labels = decoding(model)
    unknown = [name for name in paths if name not in settings]
    if unknown:
        raise UserError(f"The model has the modalities {list(settings)}, not {unknown}.")
    reading = reading or Reading()
    return load(reading.sources(paths, settings), reading, split, labels) if paths else {}


def write_dataset(
    model: CrossModalMAE,
    plan: Plan,
    samples: Mapping[str, Samples],
    folder: Path,
    how: OutputOptions | None = None,
    source_ids: bool = True,
    model_name: str = "",
) -> Path:
    """Carry out a plan and write it as a data set; see :func:`mmgen.generation.writing.write_samples`.

    Args:
        source_ids: keep the row numbers of the real samples in the metadata (they never are names).
        model_name: what to call the model in the metadata.
    """
    settings = model_settings(model)

    def make(batches: Sequence[range], device: torch.device) -> Iterator[SyntheticSample]:
        return _one_by_one(run_batches(model, plan, samples, batches, device), settings)

    return write_samples(
        folder,
        settings,
        plan.label_names,
        plan.per_class,
        make,
        partial(describe_sample, plan, samples, source_ids=source_ids, model_name=model_name),
        describe_plan(plan, model_name),
        describe_run(model, plan, samples) | {"source ids": source_ids, "model name": model_name},
        how or OutputOptions(),
    )


def _one_by_one(batches: Iterable[SyntheticBatch], settings: Mapping[str, Settings]) -> Iterator[SyntheticSample]:
    for batch in batches:
        for row, index in enumerate(batch.indices.tolist()):
            values = {name: batch.values[name][row] for name in settings}
            sounds = {name: (values[name][0], waves[row]) for name, waves in batch.waveforms.items()}
            yield SyntheticSample(index, {name: values[name] for name in values if name not in sounds}, sounds)
