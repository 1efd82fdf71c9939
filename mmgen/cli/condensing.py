"""``mmgen condense``."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mmgen.cli.condensation_flags import CondensationFlags
from mmgen.cli.config import refuse_below_one
from mmgen.errors import UserError
from mmgen.names import IMAGE, MethodName, Selection

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Condense(CondensationFlags):
    """Condense a labelled image set into a small one, and into a generator where the method trains one."""

    data: Annotated[Path, tyro.conf.Positional]
    """Folder with a subfolder for each label (or train/ and test/ above them), CSV, published data set, or shards; the
    training split is used."""
    ipc: int
    """Images of each class."""
    out: Path
    """Folder of the condensed data set."""
    method: MethodName = "medsynth"
    """How to condense: medsynth, mae, dim and dcgan train generators, which can be shared once audited; it_gan and dm
    start from real images; subset chooses real images, to compare with."""
    selection: Selection = "random"
    """How a subset is chosen."""
    soft_labels: bool = False
    """Also write soft labels of a classifier trained on the same images, for mmgen evaluate --labels soft."""
    run: Path | None = None
    """Folder of the trainings and of the generator (model/); OUT_run beside the data set if absent."""
    resume: Literal["latest"] | None = None
    """Go on from the run folder's last checkpoints."""
    format: Literal["folder", "webdataset"] = "folder"
    """Files in folders by label, or tar shards of the WebDataset form."""
    shard_size: int = 1000
    """Samples a shard, rounded up to whole batches; processes share out whole shards."""
    overwrite: bool = False
    """Replace an earlier data set in the folder; an interrupted one of the same command goes on without this."""

    @property
    def run_folder(self) -> Path:
        """Where trainings and generator go."""
        beside = self.out if self.out.name else self.out.resolve()  # the current folder has no name
        return self.run or beside.with_name(f"{self.out.resolve().name}_run")


def condense(options: Condense) -> dict[str, Any]:
    """Run ``mmgen condense``."""
    from mmgen.artifacts.card_facts import CardFacts
    from mmgen.artifacts.models import save_model
    from mmgen.artifacts.provenance import begin_run, config_to_dict
    from mmgen.condensation.methods import METHODS, make_condenser, settings_of
    from mmgen.condensation.teacher import pretrained_backbone
    from mmgen.data.loading import prepare
    from mmgen.data.sources import reading_of
    from mmgen.evaluation.teacher import TEACHER, TEACHERS, soft_labels
    from mmgen.generation.amount import refuse_too_much
    from mmgen.generation.plan import images_of, plan_of_fit, refuse_too_few
    from mmgen.generation.writing import OutputOptions, refuse_occupied, write_dataset
    from mmgen.presets import fitted_to, image_settings
    from mmgen.training.engine import end_process_group, make_accelerator
    from mmgen.training.run import Run

    folder, count = options.run_folder, options.ipc
    output = OutputOptions(options.format, shard_size=options.shard_size, overwrite=options.overwrite)
    refuse_below_one(options, "ipc")
    stages = (*METHODS[options.method].stages, TEACHER)
    inside = {name.partition("/")[0] for name in (*stages, "model")}
    out, taken = options.out.resolve(), [(folder / name).resolve() for name in inside]
    if folder.resolve().is_relative_to(out) or any(map(out.is_relative_to, taken)):
        raise UserError(f"{options.out} would hold files of the run in {folder} too; choose another --run or --out.")
    refuse_occupied(options.out, options.overwrite)
    form = image_settings(options.preset, options.image_size, options.channels)
    settings_of(options.method, options, count)  # refuses what no training can begin with, before the data are read
    held = max(options.choose_from or 0, 2 * count * METHODS[options.method].fits_one_size)
    refuse_too_much({IMAGE: form}, 2 * count, options.out, held)
    run = Run(make_accelerator(options.mixed_precision), folder, options.resume is not None, options.seed)
    with run.alone(*stages):
        reading = reading_of(options, options.out, options.seed)
        options = fitted_to(options, reading.sources({IMAGE: options.data}, {IMAGE: form})[IMAGE])
        form = image_settings(options.preset, options.image_size, options.channels)
        data = prepare(reading.sources({IMAGE: options.data}, {IMAGE: form}), reading)
        condenser = make_condenser(options.method, settings_of(options.method, options, count), run, data)
        begin_run(run, config_to_dict(options) | {"fit": config_to_dict(condenser.config)}, data, stages)
        model = condenser.fit().model
        refuse_too_few(model, count)
        if run.accelerator.is_main_process:
            save_model(model, folder / "model", CardFacts.of(data, [count]))
        plan, probabilities = plan_of_fit(condenser, count, options.seed), None
        if options.soft_labels:
            teacher = replace(TEACHERS[options.preset], augmentation={IMAGE: options.augmentation or "none"})
            sets = data.splits["train"][IMAGE], images_of(condenser, plan)
            backbone = pretrained_backbone(options.backbone, options.backbone_weights)
            probabilities = soft_labels(condenser.modality, *sets, teacher, run.stage(TEACHER), backbone)
        condensed_set = write_dataset(model, plan, options.out, output, soft_labels=probabilities)
        end_process_group()
    logger.info("Model          %s\nCondensed set  %s", folder / "model", condensed_set)
    counts = dict.fromkeys(model.class_names, count)
    return {"model": folder / "model", "dataset": condensed_set, "samples": sum(counts.values()), "counts": counts}
