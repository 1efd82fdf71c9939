"""From labelled images to a generator that can be shared, and condensed sets drawn from it (MedSynth paper).

Without flags: phantom skin lesions, a small generator, a few minutes on two CPU cores. On your own images:

    python recipes/medsynth_isic.py --data PATH --preset small --out runs/mine

--config FILE.yaml takes flags from a file; flags on the command line go on top.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmgen.artifacts.cards import size_lines, subjects_in_training, training_bytes
from mmgen.artifacts.models import save_generator
from mmgen.artifacts.provenance import Costs, begin_run, config_to_dict
from mmgen.assessment import condensed
from mmgen.assessment.auditing import audit_run
from mmgen.assessment.condensed import CondensedSets
from mmgen.assessment.inputs import data_sets_of
from mmgen.assessment.reporting import with_media, write_whole
from mmgen.assessment.target import Target
from mmgen.cli.condensation_flags import CondensationFlags
from mmgen.cli.config import parse_config, refuse_below_one
from mmgen.cli.main import run_command
from mmgen.condensation.medsynth import MedSynth
from mmgen.condensation.methods import make_condenser, settings_of
from mmgen.data.loading import PairedData, prepare
from mmgen.data.phantoms import write_phantom_images
from mmgen.data.sources import reading_of
from mmgen.evaluation.report.media import ReportMedia
from mmgen.generation.plan import plan_of_fit
from mmgen.generation.writing import OutputOptions, write_dataset
from mmgen.names import IMAGE, ClassifierName
from mmgen.presets import SCALES, fitted_to, image_settings
from mmgen.training.engine import end_process_group, make_accelerator
from mmgen.training.run import Run, read_metrics

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger("mmgen")

PHASES = ("phase1", "phase2")


@dataclass(frozen=True, kw_only=True)
class Recipe(CondensationFlags):
    """Condense an image set into a generator, draw condensed sets, measure what they are worth."""

    data: Path | None = None
    """Folder with a subfolder for each label (or train/ and test/ above them), CSV, published data set, or shards.
    Phantoms if absent."""
    out: Path = Path("runs/medsynth_isic")
    """Run folder."""
    ipc: tuple[int, ...] | None = None
    """Images per class of the condensed sets, if not the preset's."""
    classifiers: tuple[ClassifierName, ...] = ("vit_lora", "resnet18", "densenet121", "convnet")
    """Networks that measure utility."""
    utility_seeds: int | None = None
    """Trainings of each classifier on each set, if not the preset's number."""
    fast: bool = False
    """Short attacks in the audit; the preset quick always has short ones."""
    resume: Literal["latest"] | None = None
    """Go on from the run folder's last checkpoints."""

    @property
    def images_per_class(self) -> tuple[int, ...]:
        """Sizes of the condensed sets, ascending."""
        return tuple(sorted(set(self.ipc or SCALES[self.preset].images_per_class)))


def evaluate(
    config: Recipe, data: PairedData, model: MedSynth, accelerator: Accelerator, generator_bytes: int
) -> tuple[dict[str, Any], ReportMedia]:
    """Sections and media of the report."""
    scale = SCALES[config.preset]
    # All training images: a ratio is one of all of them, and a copy may be of any.
    test = data.splits["test"][IMAGE].at_most()
    sets = CondensedSets(
        data.splits["train"][IMAGE],
        test,
        model.modality,
        model.sample,
        config.images_per_class,
        model.sample_phase1,
        model.backbone,
        config.seed,
        test.subject_numbers(),
    )
    how = replace(scale.utility, augmentation={IMAGE: config.augmentation or "none"})
    how = how if config.utility_seeds is None else replace(how, seeds=config.utility_seeds)
    made = model.sample(sets.largest, config.seed)
    history = phase_history(config.out)
    size = condensed.sizes(
        sets,
        "medsynth",
        config.input_prior,
        training_bytes(data),
        generator_bytes,
        sum(p.numel() for p in model.generator.parameters()),
    )
    attention = [row["mean_attention"] for row in history if row.get("mean_attention") is not None]
    sections = {
        "data": data.summary(),
        "condensation": size | {"mean_attention": attention[-1] if attention else None},
        "utility": condensed.measure_utility(sets, how, config.classifiers, accelerator),
        "fidelity": condensed.fidelity_section(sets, made),
    }
    media = ReportMedia(condensed.condensed_figures(sets, made, history), condensed.condensed_samples(sets, made))
    return sections, media


def phase_history(out: Path) -> list[dict[str, Any]]:
    """Rows of both phases' logs."""
    return [
        {**row, "phase": number}
        for number, phase in enumerate(PHASES, 1)
        for row in read_metrics(out / phase / "metrics.jsonl")
    ]


def results(sections: dict[str, Any], images_per_class: Sequence[int]) -> dict[str, str]:
    """Short lines for the model card."""
    lines = {}
    for classifier, scores in sections["utility"].get(IMAGE, {}).items():
        for count in images_per_class:
            synthetic, random, real = (
                scores[name]["auc"]["mean"] for name in (f"synthetic@{count}", f"random_subset@{count}", "real")
            )
            lines[f"macro AUC on real test images, {classifier}, {count} images a class"] = (
                f"{synthetic:.3f} condensed, {random:.3f} random real, {real:.3f} all real"
            )
    return lines


def carry_out(config: Recipe, phantoms: Literal["lesions", "brains"]) -> None:
    """The recipe, on the flags' data or on phantoms of this kind."""
    refuse_below_one(config, "ipc", "utility_seeds")
    form = image_settings(config.preset, config.image_size, config.channels)
    settings_of("medsynth", config)  # refuses what no training can begin with, before the data are read
    out, model_folder = config.out, config.out / "model"
    run = Run(make_accelerator(config.mixed_precision), out, config.resume is not None, config.seed)
    run.check_beginning(*MedSynth.stages)
    costs = Costs(run.accelerator.device)

    with costs.phase("data"):
        path = config.data
        if path is None:
            with run.accelerator.main_process_first():
                path = write_phantom_images(out / "phantoms", phantoms, seed=config.seed)
            logger.info("Phantom data: %s", path)
        reading = reading_of(config, out, config.seed)
        config = fitted_to(config, reading.sources({IMAGE: path}, {IMAGE: form})[IMAGE])
        form = image_settings(config.preset, config.image_size, config.channels)
        data = prepare(reading.sources({IMAGE: path}, {IMAGE: form}), reading)
        model = make_condenser("medsynth", settings_of("medsynth", config), run, data)
    begin_run(run, config_to_dict(config) | {"fit": config_to_dict(model.config)}, data, MedSynth.stages)

    with costs.phase("pretrain backbone"):
        model.pretrain()
    with costs.phase("tune classifier"):
        model.tune()
    with costs.phase("phase I"):
        model.learn_distribution()
    with costs.phase("phase II"):
        model.learn_task()
    if run.accelerator.is_main_process:
        save_generator(model.generator, model_folder, data.training_counts(), subjects_in_training(data))
    with costs.phase("generate"):
        for count in config.images_per_class:
            folder, output = out / "synthetic" / f"ipc{count}", OutputOptions(overwrite=True)
            write_dataset(model.model, plan_of_fit(model, count, config.seed), folder, output)
    end_process_group()
    if run.accelerator.is_main_process:
        page = judge(config, data, model, run.accelerator, costs)
        logger.info("Report         %s\nCondensed sets %s\nGenerator      %s", page, out / "synthetic", model_folder)


def judge(config: Recipe, data: PairedData, model: MedSynth, accelerator: Accelerator, costs: Costs) -> Path:
    """Measure, audit, and write what was found into the report and the generator's folder; the path of the page."""
    out, model_folder = config.out, config.out / "model"
    with costs.phase("evaluate"):
        generator_bytes = (model_folder / "model.safetensors").stat().st_size
        sections, media = evaluate(config, data, model, accelerator, generator_bytes)
    sizes = size_lines(data, len(data.label_names), config.images_per_class)
    measures = results(sections, config.images_per_class)
    counts, subjects = data.training_counts(), subjects_in_training(data)
    save_generator(model.generator, model_folder, counts, subjects, sizes, measures, sections["utility"])
    with costs.phase("audit"):
        form, critic = image_settings(config.preset, config.image_size, config.channels), model.gan.critic.cpu().eval()
        target = Target(model.generator, critic, data_sets_of(out), {IMAGE: form})
        fast = config.fast or config.preset == "quick"
        sections["privacy"], pairs = audit_run(target, data, out / "audit", fast, config.seed)
    head = {"run": out.name, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    head["config"] = config_to_dict(config, whole_paths=False)
    return write_whole(out / "report", {**head, **sections, "cost": costs}, with_media(media, pairs))


def main() -> None:
    carry_out(parse_config(Recipe, description=__doc__), "lesions")


if __name__ == "__main__":
    run_command(main)
