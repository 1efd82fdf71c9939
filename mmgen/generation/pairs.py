"""Generation with a cross-modal masked autoencoder: same-label real partners in, labelled synthetic tuples out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from mmgen.artifacts.models import Model, decoding, load_model, model_settings
from mmgen.data.labels import keep_labels
from mmgen.data.manifest import label_key
from mmgen.data.overview import Source, read_matched
from mmgen.data.prepare import Preparation, decode_files
from mmgen.data.samples import Samples, samples_of
from mmgen.data.settings import Settings
from mmgen.data.threads import cut
from mmgen.data.writing.writer import SyntheticSample
from mmgen.errors import UserError, first_few
from mmgen.generation.batches import SyntheticBatch, run_batches
from mmgen.generation.plan import Plan, describe_plan, describe_run, describe_sample, make_plan
from mmgen.generation.writing import OutputOptions, write_samples
from mmgen.models.cross_modal_mae import CrossModalMAE, MaskRatio

logger = logging.getLogger(__name__)


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

    Example:
        >>> import mmgen
        >>> folders = {"image": "phantoms/images", "audio": "phantoms/audio"}
        >>> for batch in mmgen.generate_pairs("runs/covid", folders, per_class=3, seed=1):
        ...     print(batch.values["image"].shape, batch.values["audio"].shape, batch.labels.tolist())
        (6, 1, 32, 32) (6, 1, 40, 40) [0, 0, 0, 1, 1, 1]
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
    model: Model,
    paths: Mapping[str, Path],
    source: Callable[[Path, Settings], Source] = Source,
    how: Preparation | None = None,
    split: str | None = "train",
) -> dict[str, Samples]:
    """Real samples, decoded as the model's training data were; labels are matched across modalities.

    ``split`` is used where the data have splits, otherwise everything. Labels that the model was not trained on are
    left out. Both are logged.

    Args:
        paths: where each modality is.
        source: what a path and settings become; says which layout and columns there are.
        how: label names, bad files and cache; splits are not made.
    """
    settings, labels, how = *decoding(model), how or Preparation()
    unknown = [name for name in paths if name not in settings]
    if unknown:
        raise UserError(f"The model has the modalities {list(settings)}, not {unknown}.")
    if not paths:
        return {}
    manifests = read_matched(
        {name: source(path, settings[name]) for name, path in paths.items()}, how.label_map, not how.skip_bad
    )
    present = next(iter(manifests.values())).label_names
    known = [name for name in labels if label_key(name) in map(label_key, present)] if labels else present
    unknown_labels = [name for name in present if label_key(name) not in map(label_key, known)]
    if unknown_labels:
        logger.warning("Left out, because the model was not trained on them: %s.", first_few(unknown_labels))
    absent = [name for name in labels if label_key(name) not in map(label_key, present)]
    if absent:
        logger.warning("Not made, because the data have no samples of them: %s.", first_few(absent))
    if not known:
        raise UserError(f"The model was trained on the labels {labels}; the data have {list(present)}.")
    samples = {}
    for name, manifest in manifests.items():
        if split is not None and manifest.splits is None:
            logger.warning("%s has no splits: every file is used, also any that a training held out.", manifest.files)
        chosen = manifest if split is None or manifest.splits is None else manifest.of_split(split)
        usable, files, _ = decode_files(name, keep_labels(chosen, known), settings[name], how.cache, how.skip_bad)
        samples[name] = samples_of(usable, files)
    return samples


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
