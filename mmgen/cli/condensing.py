"""``mmgen condense``."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mmgen.cli.condensation_flags import CondensationFlags
from mmgen.errors import UserError
from mmgen.names import MethodName, Selection

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
    """How to condense: medsynth, dim and dcgan train generators, which can be shared once audited; it_gan and dm start
    from real images; subset chooses real images, to compare with."""
    selection: Selection = "random"
    """How a subset is chosen."""
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

    def settings_of(self, method: MethodName, images_per_class: int) -> Any:
        """Settings of a method; a subset's have the selection."""
        settings = super().settings_of(method, images_per_class)
        if method == "subset":
            return replace(settings, selection=self.selection)
        if self.selection != "random":
            raise UserError(f"--selection belongs to the method subset, not to {method}; leave it out.")
        return settings

    @property
    def run_folder(self) -> Path:
        """Where trainings and generator go."""
        return self.run or self.out.with_name(f"{self.out.resolve().name}_run")


def condense(options: Condense) -> None:
    """Run ``mmgen condense``."""
    from mmgen.artifacts.card_facts import CardFacts
    from mmgen.artifacts.models import save_model
    from mmgen.artifacts.provenance import config_to_dict, refuse_other_data, write_config
    from mmgen.condensation.condenser import set_stages_aside
    from mmgen.condensation.methods import METHODS
    from mmgen.generation.condensed import refuse_too_few, write_set_of
    from mmgen.generation.writing import OutputOptions, refuse_occupied
    from mmgen.training.engine import make_accelerator, part_ways

    run, resume, count = options.run_folder, options.resume is not None, options.ipc
    how = OutputOptions(options.format, shard_size=options.shard_size, overwrite=options.overwrite)
    if count < 1:
        raise UserError(f"--ipc must be at least 1, got {count}.")
    stages = METHODS[options.method].stages
    out, taken = options.out.resolve(), [(run / name).resolve() for name in (*stages, "model")]
    if run.resolve().is_relative_to(out) or any(map(out.is_relative_to, taken)):
        raise UserError(f"{options.out} would hold files of the run in {run} too; choose another --run or --out.")
    refuse_occupied(options.out, options.overwrite)
    options.refuse_impossible(run, resume, options.method, count)

    accelerator = make_accelerator(options.mixed_precision)
    options = options.fitted_to(options.data)
    data = options.read(options.data, options.out)
    condenser = options.condenser(data, accelerator, run, resume, options.method, count)
    if resume:
        refuse_other_data(run, data.fingerprints)
    if accelerator.is_main_process:
        if not resume:
            write_config(run, config_to_dict(options) | {"fit": config_to_dict(condenser.config)}, data.fingerprints)
            set_stages_aside(run, stages)
        data.write_skipped(run / "skipped_files.csv")
    accelerator.wait_for_everyone()
    model = condenser.fit().model
    refuse_too_few(model, count)
    if accelerator.is_main_process:
        save_model(model, run / "model", CardFacts.of(data, [count]))
    folder = write_set_of(condenser, count, options.seed, options.out, how)
    part_ways()
    logger.info("Model          %s\nCondensed set  %s", run / "model", folder)
