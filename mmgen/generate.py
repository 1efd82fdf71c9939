"""Generation with a cross-modal masked autoencoder: same-label real partners in, labelled synthetic tuples out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgen.data.audio import AudioSettings, mel_to_waveform, one_thread
from mmgen.data.images import ImageSettings
from mmgen.data.labels import keep_labels
from mmgen.data.manifest import Columns, label_key
from mmgen.data.prepare import Source, read_matched
from mmgen.data.progress import progress_bar
from mmgen.data.samples import Samples, Settings, load_samples, settings_from_dict
from mmgen.data.writer import DatasetWriter, prepare_folder
from mmgen.errors import UserError, first_few
from mmgen.hub import load_model
from mmgen.models.cross_modal_mae import CrossModalMAE, MaskRatio
from mmgen.models.masking import visible_count
from mmgen.training.engine import choose_attention

logger = logging.getLogger(__name__)

# Separates the stream of random numbers for masks from the one for partners.
_MASKS = 0x6D61736B


@dataclass(frozen=True)
class Plan:
    """What a generation run makes: a function of (sources, per_class, seed) alone.

    Sample ``i`` has label ``i // per_class``; for each modality ``sources[name][i]`` is the real sample it starts from,
    or -1 when the modality is made from the others alone.
    """

    labels: np.ndarray
    label_names: tuple[str, ...]
    sources: dict[str, np.ndarray]
    ratios: dict[str, float]
    per_class: int
    seed: int
    paste_visible: bool

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class SyntheticBatch:
    """A run of consecutive samples of a plan.

    Attributes:
        indices: (B,) positions in the plan.
        labels: (B,) class indices into ``label_names``.
        label_names: class names.
        values: raw arrays by modality, (B, C, H, W): uint8 for images, float32 for log-mels.
        waveforms: (B, samples) float32 for every audio modality.
    """

    indices: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    values: dict[str, np.ndarray]
    waveforms: dict[str, np.ndarray]


def make_plan(
    model: CrossModalMAE,
    samples: Mapping[str, Samples],
    per_class: int | None = None,
    mask_ratio: MaskRatio = 0.75,
    seed: int = 0,
    paste_visible: bool = False,
) -> Plan:
    """Choose partners: each modality goes through its samples of a label in a random order of its own, again and again.

    ``per_class`` None makes as many of each label as the largest class of any modality has samples.

    Raises:
        UserError: no samples of a modality that is not hidden whole, no sample at all, or labels that differ.
    """
    ratios = model.ratios(mask_ratio)
    if per_class is None:
        per_class = max((int(np.bincount(s.labels).max()) for s in samples.values() if len(s)), default=1)
    _check(model, ratios, per_class, seed)
    used = [name for name in model.modalities if ratios[name] < 1.0]
    absent = [name for name in used if name not in samples]
    if absent or not used:
        hint = f"there are no samples of {absent}" if absent else "every modality is hidden whole"
        raise UserError(
            f"Nothing to start from: {hint}; give its files, or a mask ratio of 1 for it and less for another modality."
        )
    label_names = samples[used[0]].label_names
    if any(samples[name].label_names != label_names for name in used):
        raise UserError(f"Modalities have different labels: { {name: samples[name].label_names for name in used} }.")
    sources = {name: np.full(len(label_names) * per_class, -1) for name in model.modalities}
    for position, name in enumerate(model.modalities):
        if name in used:
            parts = [
                _order(samples[name], label, per_class, [seed, position, label]) for label in range(len(label_names))
            ]
            sources[name] = np.concatenate(parts)
    labels = np.repeat(np.arange(len(label_names)), per_class)
    return Plan(labels, label_names, sources, ratios, per_class, seed, paste_visible)


def _check(model: CrossModalMAE, ratios: Mapping[str, float], per_class: int, seed: int) -> None:
    """Refuse here what would fail later, when an earlier data set has made room for this one."""
    if per_class < 1:
        raise UserError(f"The number of samples per class must be at least 1, got {per_class}.")
    if seed < 0:
        raise UserError(f"A seed is 0 or more, got {seed}.")
    visible = {visible_count(modality.tokens, ratios[name]) for name, modality in model.modalities.items()}
    if model.config["fusion_query"] == "other" and len(visible) > 1:
        raise UserError(
            f"This model (fusion_query='other') needs the same mask ratio for all modalities, got {ratios}; "
            "only models with fusion_query='own' make one modality from another alone."
        )


def _order(samples: Samples, label: int, count: int, seed: list[int]) -> np.ndarray:
    members = np.flatnonzero(samples.labels == label)
    if not len(members):
        raise UserError(
            f"There is no real sample of label '{samples.label_names[label]}' to start from; add some or leave it out."
        )
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(members) for _ in range(-(-count // len(members)))])[:count]


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

    Yields:
        :class:`SyntheticBatch` in the order of the plan.

    Raises:
        UserError: see :func:`make_plan` and :func:`mmgen.hub.load_model`.
    """
    if not isinstance(model, CrossModalMAE):
        model = load_model(model)
    decoded = {name: value for name, value in samples.items() if isinstance(value, Samples)}
    paths = {name: Path(value) for name, value in samples.items() if not isinstance(value, Samples)}
    if paths:
        decoded |= read_sources(model, paths)
    plan = make_plan(model, decoded, per_class, mask_ratio, seed, paste_visible)
    yield from run_plan(model, plan, decoded, batch_size, device, shard, progress)


def run_plan(
    model: CrossModalMAE,
    plan: Plan,
    samples: Mapping[str, Samples],
    batch_size: int = 32,
    device: str | torch.device | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> Iterator[SyntheticBatch]:
    """Carry out a plan; see :func:`generate_pairs`.

    Batches are cut the same way whatever the shard, so that numbers are equal to the bit.
    """
    device = torch.device(
        device or (torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    )
    model = model.to(device).eval()
    choose_attention(model, device)
    settings = model_settings(model)
    starts = list(range(0, len(plan), batch_size))[shard[0] :: shard[1]]
    for start in progress_bar(starts, total=len(starts), description="generating", quiet=not progress):
        indices = np.arange(start, min(start + batch_size, len(plan)))
        inputs, noise = _inputs(plan, samples, indices, device), _noise(model, plan.seed, indices)
        # A process among several has fewer threads than one alone, and must make the same bytes.
        with one_thread():
            made = model.reconstruct(inputs, plan.ratios, noise, plan.paste_visible)
            values, waveforms = _to_files(made, settings)
        yield SyntheticBatch(indices, plan.labels[indices], plan.label_names, values, waveforms)


def _to_files(
    made: Mapping[str, Tensor], settings: Mapping[str, Settings]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Arrays as they are written, and the sounds of log-mels."""
    values, waveforms = {}, {}
    for name, tensor in made.items():
        if isinstance(how := settings[name], ImageSettings):
            values[name] = tensor.round().clamp(0, 255).byte().cpu().numpy()
        else:
            waveforms[name] = mel_to_waveform(tensor[:, 0], how).cpu().numpy()
            values[name] = tensor.cpu().numpy()
    return values, waveforms


def _inputs(plan: Plan, samples: Mapping[str, Samples], indices: np.ndarray, device: torch.device) -> dict[str, Tensor]:
    """Real partners of modalities that are not made from the others alone."""
    return {
        name: torch.from_numpy(samples[name].values[source[indices]]).to(device)
        for name, source in plan.sources.items()
        if source[indices[0]] >= 0
    }


def _noise(model: CrossModalMAE, seed: int, indices: np.ndarray) -> dict[str, Tensor]:
    """Masking noise, every sample's from a generator of its own: {name: (B, N)}."""
    drawn = []
    for index in indices.tolist():
        state = np.random.SeedSequence([seed, _MASKS, index]).generate_state(1, np.uint64)[0]
        drawn.append(model.noise(1, torch.Generator().manual_seed(int(state >> np.uint64(1)))))
    return {name: torch.cat([noise[name] for noise in drawn]) for name in drawn[0]}


def model_settings(model: CrossModalMAE) -> dict[str, Settings]:
    """How the model's modalities relate to files; raises UserError when the model does not say."""
    missing = [name for name in model.modalities if name not in model.preprocessing]
    if missing:
        raise UserError(
            f"The model does not say how {missing} were decoded (preprocessing in config.json); train it with a recipe."
        )
    return {name: settings_from_dict(model.preprocessing[name]) for name in model.modalities}


def read_sources(
    model: CrossModalMAE, paths: Mapping[str, Path], columns: Columns | None = None, split: str | None = "train"
) -> dict[str, Samples]:
    """Decode real samples as the model's training data were decoded; labels are matched across modalities.

    ``split`` is used where the data have splits, otherwise everything. Labels that the model was not trained on are
    left out. Both are logged.
    """
    settings = model_settings(model)
    unknown = [name for name in paths if name not in settings]
    if unknown:
        raise UserError(f"The model has the modalities {list(settings)}, not {unknown}.")
    if not paths:
        return {}
    manifests, _ = read_matched(
        {name: Source(path, settings[name], columns or Columns()) for name, path in paths.items()}
    )
    present = next(iter(manifests.values())).label_names
    known = [name for name in model.labels if label_key(name) in map(label_key, present)] if model.labels else present
    unknown_labels = [name for name in present if label_key(name) not in map(label_key, known)]
    if unknown_labels:
        logger.warning("Left out, because the model was not trained on them: %s.", first_few(unknown_labels))
    if not known:
        raise UserError(f"The model was trained on the labels {model.labels}; the data have {list(present)}.")
    samples = {}
    for name, manifest in manifests.items():
        if split is not None and manifest.splits is None:
            logger.warning("%s has no splits: every file is used, also any that a training held out.", manifest.files)
        chosen = manifest if split is None or manifest.splits is None else manifest.of_split(split)
        samples[name] = load_samples(keep_labels(chosen, known), settings[name])
    return samples


def write_dataset(
    model: CrossModalMAE,
    plan: Plan,
    samples: Mapping[str, Samples],
    folder: Path,
    batch_size: int = 32,
    overwrite: bool = False,
    source_ids: bool = True,
    model_name: str = "",
) -> Path:
    """Carry out a plan and write it as a data set; under a launcher every process writes its share.

    Args:
        source_ids: keep the row numbers of the real samples in ``metadata.csv`` (they never are names).
        model_name: what to call the model in the metadata.

    Raises:
        UserError: the folder is not empty and may not be overwritten.
    """
    from accelerate import PartialState

    if batch_size < 1:
        raise UserError(f"The batch size must be at least 1, got {batch_size}.")
    state = PartialState(cpu=not torch.accelerator.is_available())
    settings = model_settings(model)
    writer = DatasetWriter(folder, settings, plan.label_names)
    if state.is_main_process:
        prepare_folder(folder, overwrite)
    state.wait_for_everyone()
    shard = (state.process_index, state.num_processes)
    for batch in run_plan(model, plan, samples, batch_size, state.device, shard):
        for row, index in enumerate(batch.indices):
            images = {name: batch.values[name][row] for name, s in settings.items() if isinstance(s, ImageSettings)}
            sounds = {
                name: (batch.values[name][row, 0], batch.waveforms[name][row])
                for name, s in settings.items()
                if isinstance(s, AudioSettings)
            }
            writer.write(int(batch.labels[row]), int(index % plan.per_class), images, sounds)
    state.wait_for_everyone()
    if state.is_main_process:
        writer.finish(_metadata(plan, writer, samples, source_ids, model_name), _about(plan, model_name))
    state.wait_for_everyone()
    return folder


def _metadata(
    plan: Plan, writer: DatasetWriter, samples: Mapping[str, Samples], source_ids: bool, model_name: str
) -> Iterator[dict[str, Any]]:
    for index, label in enumerate(plan.labels.tolist()):
        row: dict[str, Any] = writer.files(label, index % plan.per_class)
        row |= {"label": plan.label_names[label], "index": index, "seed": plan.seed, "model": model_name}
        row |= {f"{name}_mask_ratio": ratio for name, ratio in plan.ratios.items()}
        row["copies_real_data"] = plan.paste_visible
        if source_ids:
            for name, source in plan.sources.items():
                row[f"source_{name}_id"] = int(samples[name].rows[source[index]]) if source[index] >= 0 else ""
        yield row


def _about(plan: Plan, model_name: str) -> dict[str, Any]:
    from mmgen import __version__

    return {
        "generator": {"library": f"mmgen {__version__}", "model": model_name},
        "seed": plan.seed,
        "per_class": plan.per_class,
        "mask_ratio": plan.ratios,
        "copies_real_data": plan.paste_visible,
    }
