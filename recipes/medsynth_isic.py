"""From labelled images to a generator that can be handed on, and condensed sets drawn from it (MedSynth paper).

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

from mmgen.artifacts.card_facts import CardFacts, Scores
from mmgen.artifacts.models import save_model
from mmgen.artifacts.provenance import Costs, config_to_dict, refuse_other_data, write_config
from mmgen.assessment import condensed
from mmgen.assessment.auditing import audit_run
from mmgen.assessment.condensed import CondensedSets
from mmgen.assessment.inputs import data_sets_of
from mmgen.assessment.reporting import with_media, write_whole
from mmgen.assessment.subject import Subject
from mmgen.cli.condensation_flags import CondensationFlags
from mmgen.cli.config import parse_config
from mmgen.cli.main import run_command
from mmgen.condensation.condenser import set_stages_aside
from mmgen.condensation.medsynth import MedSynth
from mmgen.data.phantoms import write_phantom_images
from mmgen.data.prepare import PairedData
from mmgen.data.samples import people_in
from mmgen.errors import UserError
from mmgen.evaluation.report.media import ReportMedia
from mmgen.generation.condensed import write_set_of
from mmgen.generation.writing import OutputOptions
from mmgen.names import IMAGE, ClassifierName
from mmgen.training.engine import make_accelerator, part_ways
from mmgen.training.runlog import read_metrics

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
        return tuple(sorted(set(self.ipc or self.scale.images_per_class)))


def check(config: Recipe) -> None:
    """Refuse before training what would fail after it."""
    config.refuse_impossible(config.out, config.resume is not None)
    if min(config.images_per_class) < 1:
        raise UserError(f"--ipc must be at least 1, got {min(config.images_per_class)}.")
    if config.utility_seeds is not None and config.utility_seeds < 1:
        raise UserError(f"--utility-seeds must be at least 1, got {config.utility_seeds}.")


def evaluate(
    config: Recipe, data: PairedData, model: MedSynth, accelerator: Accelerator, file_sizes: tuple[int, int]
) -> tuple[dict[str, Any], ReportMedia]:
    """Sections and media of the report; sizes are those of the training images and of the generator, in bytes."""
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
        people_in(test, data.manifests[IMAGE]),
    )
    how = replace(config.scale.utility, augmentation={IMAGE: config.augmentation or "none"})
    how = how if config.utility_seeds is None else replace(how, seeds=config.utility_seeds)
    made = model.sample(sets.largest, config.seed)
    history = phase_history(config.out)
    size = condensed.sizes(
        sets,
        "medsynth",
        config.input_prior,
        *file_sizes,
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


def scores_of(sections: dict[str, Any], images_per_class: Sequence[int]) -> tuple[Scores, ...]:
    """What the model card says of utility."""
    utility = sections["utility"].get(IMAGE, {})
    return tuple(
        Scores(
            classifier,
            count,
            *(results[name]["auc"]["mean"] for name in (f"synthetic@{count}", f"random_subset@{count}", "real")),
        )
        for classifier, results in utility.items()
        for count in images_per_class
    )


def run(config: Recipe, phantoms: Literal["lesions", "brains"]) -> None:
    """The recipe, on the flags' data or on phantoms of this kind."""
    check(config)
    accelerator = make_accelerator(config.mixed_precision)
    costs = Costs(accelerator.device)
    out, model_folder = config.out, config.out / "model"

    with costs.phase("data"):
        path = config.data
        if path is None:
            with accelerator.main_process_first():
                path = write_phantom_images(out / "phantoms", phantoms, seed=config.seed)
            logger.info("Phantom data: %s", path)
        config = config.fitted_to(path)
        data = config.read(path, out)
        if config.resume is not None:
            refuse_other_data(out, data.fingerprints)
        model = config.condenser(data, accelerator, out, config.resume is not None)
    if accelerator.is_main_process:
        if config.resume is None:
            write_config(out, config_to_dict(config) | {"fit": config_to_dict(config.fit)}, data.fingerprints)
            set_stages_aside(out, MedSynth.stages)
        data.write_skipped(out / "skipped_files.csv")
    accelerator.wait_for_everyone()

    fit(model, costs)
    if accelerator.is_main_process:
        save_model(model.generator, model_folder, CardFacts.of(data, config.images_per_class))
    with costs.phase("generate"):
        for count in config.images_per_class:
            folder, how = out / "synthetic" / f"ipc{count}", OutputOptions(overwrite=True)
            write_set_of(model, count, config.seed, folder, how)
    part_ways()
    if accelerator.is_main_process:
        page = judge(config, data, model, accelerator, costs)
        logger.info("Report         %s\nCondensed sets %s\nGenerator      %s", page, out / "synthetic", model_folder)


def fit(model: MedSynth, costs: Costs) -> None:
    """All trainings."""
    with costs.phase("pretrain backbone"):
        model.pretrain()
    with costs.phase("tune classifier"):
        model.tune()
    with costs.phase("phase I"):
        model.learn_distribution()
    with costs.phase("phase II"):
        model.learn_task()


def judge(config: Recipe, data: PairedData, model: MedSynth, accelerator: Accelerator, costs: Costs) -> Path:
    """Measure, audit, and write what was found into the report and the generator's folder; the path of the page."""
    out, model_folder = config.out, config.out / "model"
    facts = CardFacts.of(data, config.images_per_class)
    with costs.phase("evaluate"):
        generator_bytes = (model_folder / "model.safetensors").stat().st_size
        sizes = (facts.training_bytes, generator_bytes)
        sections, media = evaluate(config, data, model, accelerator, sizes)
    facts = replace(facts, scores=scores_of(sections, config.images_per_class))
    save_model(model.generator, model_folder, facts, sections["utility"])
    with costs.phase("audit"):
        critic = model.gan.critic.cpu().eval()
        subject = Subject(model.generator, critic, data_sets_of(out), {IMAGE: config.images})
        fast = config.fast or config.preset == "quick"
        sections["privacy"], pairs = audit_run(subject, data, out / "audit", fast, config.seed)
    head = {"run": out.name, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    head["config"] = config_to_dict(config, whole_paths=False)
    return write_whole(out / "report", {**head, **sections, "cost": costs}, with_media(media, pairs))


def main() -> None:
    run(parse_config(Recipe, description=__doc__), "lesions")


if __name__ == "__main__":
    run_command(main)
