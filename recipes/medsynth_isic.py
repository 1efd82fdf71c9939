"""From labelled images to a generator that can be shared, and condensed sets drawn from it (MedSynth paper).

Without flags: phantom skin lesions, a small generator, a few minutes on two CPU cores. On your own images:

    python recipes/medsynth_isic.py --data PATH --preset small --out runs/mine

--config FILE.yaml takes flags from a file; flags on the command line go on top.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mmgen.cli.main import one_sentence, run_command

with one_sentence():  # a package that does not load
    from mmgen.artifacts.card_facts import CardFacts, Scores
    from mmgen.artifacts.models import save_model
    from mmgen.artifacts.provenance import Costs, begin_run, config_to_dict
    from mmgen.assessment import condensed
    from mmgen.assessment.auditing import Target
    from mmgen.assessment.condensed import CondensedSets
    from mmgen.assessment.inputs import data_sets_of
    from mmgen.assessment.reporting import report_run
    from mmgen.cli.condensation_flags import CondensationFlags
    from mmgen.cli.config import parse_config, refuse_below_one
    from mmgen.cli.results import show_results
    from mmgen.condensation.medsynth import MedSynth
    from mmgen.condensation.methods import make_condenser, settings_of
    from mmgen.data.loading import PairedData, prepare
    from mmgen.data.phantoms import write_phantom_images
    from mmgen.data.sources import reading_of
    from mmgen.evaluation.report.writing import to_json
    from mmgen.generation.amount import refuse_too_much
    from mmgen.generation.plan import plan_of_fit
    from mmgen.generation.writing import OutputOptions, write_dataset
    from mmgen.names import IMAGE, NetworkName
    from mmgen.presets import SCALES, fitted_to, image_settings
    from mmgen.training.engine import end_process_group, make_accelerator
    from mmgen.training.run import Run

logger = logging.getLogger("mmgen")


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
    classifiers: tuple[NetworkName, ...] = ("vit_lora", "resnet18", "densenet121", "convnet")
    """Networks that measure utility."""
    utility_seeds: int | None = None
    """Trainings of each classifier on each set, if not the preset's number."""
    open: bool = True
    """Open the report in the browser at the end, where a person waits in a terminal with a display."""
    fast: bool = False
    """Short attacks in the audit, which are too little for a release; the preset quick always has short ones."""
    resume: Literal["latest"] | None = None
    """Go on from the run folder's last checkpoints."""

    @property
    def images_per_class(self) -> tuple[int, ...]:
        """Sizes of the condensed sets, ascending."""
        return tuple(sorted(set(self.ipc or SCALES[self.preset].images_per_class)))


def carry_out(config: Recipe, phantoms: Literal["lesions", "brains"]) -> None:
    """The recipe, on the flags' data or on phantoms of this kind."""
    refuse_below_one(config, "ipc", "utility_seeds")
    form = image_settings(config.preset, config.image_size, config.channels)
    settings_of("medsynth", config)  # refuses what no training can begin with, before the data are read
    refuse_too_much({IMAGE: form}, 2 * max(config.images_per_class), config.out, config.choose_from or 0)
    run = Run(make_accelerator(config.mixed_precision), config.out, config.resume is not None, config.seed)
    with run.alone(*MedSynth.stages):
        condense(config, phantoms, run)


def condense(config: Recipe, phantoms: Literal["lesions", "brains"], run: Run) -> None:
    """All steps, in a folder that nobody else writes to."""
    out, model_folder = config.out, config.out / "model"
    form = image_settings(config.preset, config.image_size, config.channels)
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

    stages = {"pretrain backbone": model.pretrain, "tune classifier": model.tune, "prior": model.learn_prior}
    stages |= {"phase I": model.learn_distribution, "phase II": model.learn_task}
    for name, stage in stages.items():
        if name != "prior" or config.input_prior == "mae":
            with costs.phase(name):
                stage()
    if run.accelerator.is_main_process:
        save_model(model.generator, model_folder, CardFacts.of(data, config.images_per_class))
    with costs.phase("generate"):
        for count in config.images_per_class:
            folder, output = out / "synthetic" / f"ipc{count}", OutputOptions(overwrite=True)
            write_dataset(model.model, plan_of_fit(model, count, config.seed), folder, output)
    end_process_group()
    if run.accelerator.is_main_process:
        page = judge(config, data, model, run, costs)
        show_results({"Report": page, "Condensed sets": out / "synthetic", "Generator": model_folder}, config.open)


def judge(config: Recipe, data: PairedData, model: MedSynth, run: Run, costs: Costs) -> Path:
    """Measure, audit, and write what was found into the report and the generator's folder; the path of the page."""
    out, model_folder = config.out, config.out / "model"
    settings = replace(SCALES[config.preset].utility, augmentation={IMAGE: config.augmentation or "none"})
    settings = settings if config.utility_seeds is None else replace(settings, seeds=config.utility_seeds)
    facts = CardFacts.of(data, config.images_per_class)
    with costs.phase("evaluate"):
        sets = CondensedSets.of(model, data, config.images_per_class, config.seed)
        file_sizes = facts.training_bytes, (model_folder / "model.safetensors").stat().st_size
        parameters = sum(p.numel() for p in model.generator.parameters())
        sizes = condensed.sizes(sets, "medsynth", config.input_prior, *file_sizes, parameters)
        history = condensed.phase_history(out)
        evaluated = condensed.evaluate_condensed(sets, settings, config.classifiers, run.accelerator, sizes, history)
    utility = evaluated[0]["utility"]
    scores = [Scores(*row) for row in condensed.compared_aucs(utility, config.images_per_class)]
    save_model(model.generator, model_folder, replace(facts, scores=tuple(scores)), to_json(utility))
    form = image_settings(config.preset, config.image_size, config.channels)
    target = Target(model.generator, model.gan.critic.cpu().eval(), data_sets_of(out), {IMAGE: form})
    return report_run(out, config, data, target, evaluated, costs, config.fast or config.preset == "quick")


def main() -> None:
    carry_out(parse_config(Recipe, description=__doc__), "lesions")


if __name__ == "__main__":
    run_command(main)
