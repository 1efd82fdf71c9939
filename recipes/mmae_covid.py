"""From labelled X-rays and coughs to a labelled synthetic data set with a report (MMAE paper).

Without flags: phantom data, a small model, a few minutes on two CPU cores. On your own data:

    python recipes/mmae_covid.py --images PATH --audio PATH --preset small --out runs/mine

--config FILE.yaml takes flags from a file; flags on the command line go on top.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from mmgen.cli.main import one_sentence, run_command

with one_sentence():  # a package that does not load
    from mmgen.artifacts.card_facts import CardFacts
    from mmgen.artifacts.models import model_settings, save_model, start_from_timm
    from mmgen.artifacts.provenance import Costs, begin_run, config_to_dict
    from mmgen.assessment.auditing import Target
    from mmgen.assessment.inputs import data_sets_of
    from mmgen.assessment.mae import MAERun, evaluate_mae, shortcomings
    from mmgen.assessment.reporting import report_run
    from mmgen.cli.config import parse_config, refuse_below_one
    from mmgen.cli.mae_flags import MAEFlags
    from mmgen.cli.results import show_results
    from mmgen.data.loading import PairedData, prepare
    from mmgen.data.phantoms import write_phantoms
    from mmgen.data.settings import Settings
    from mmgen.data.sources import reading_of
    from mmgen.data.writing.synthetic import read_dataset
    from mmgen.errors import UserError
    from mmgen.evaluation.fidelity.result import PATCH_ERROR
    from mmgen.evaluation.report.writing import to_json
    from mmgen.generation.amount import refuse_too_much
    from mmgen.generation.plan import make_plan
    from mmgen.generation.writing import OutputOptions, write_dataset
    from mmgen.models.cross_modal_mae import CrossModalMAE
    from mmgen.models.generative import Sampling
    from mmgen.presets import PRESETS, Preset, build_mae, default_preset, mae_config, mae_loop
    from mmgen.training.engine import end_process_group, make_accelerator
    from mmgen.training.mae import train_mae
    from mmgen.training.run import Run, read_metrics

logger = logging.getLogger("mmgen")


def check(config: MAEFlags) -> None:
    """Refuse before training what would fail after it."""
    if (config.images is None) != (config.audio is None):
        raise UserError("Give both --images and --audio, or neither for phantoms.")
    if not 0.0 < config.mask_ratio < 1.0:
        raise UserError(f"--mask-ratio lies between 0 and 1, got {config.mask_ratio}.")
    refuse_below_one(config, "epochs", "batch_size", "accumulate", "per_class")


def read_data(config: MAEFlags, settings: Mapping[str, Settings], run: Run) -> PairedData:
    """Real data from the flags, or phantoms."""
    images, audio = config.images, config.audio
    if images is None or audio is None:
        with run.accelerator.main_process_first():
            images, audio = write_phantoms(config.out / "phantoms", seed=config.seed)
        logger.info("Phantom data: %s, %s", images, audio)
    reading = reading_of(config, config.out, config.seed, config.refuse_unpaired)
    return prepare(reading.sources({"image": images, "audio": audio}, settings), reading)


def train(config: MAEFlags, sizes: Preset, data: PairedData, names: Sequence[str], run: Run) -> CrossModalMAE:
    """A model of the named modalities."""
    settings = {name: sizes.settings[name] for name in names}
    model = build_mae(sizes, settings, data.splits["train"], seed=config.seed)
    if config.image_weights and "image" in names:
        start_from_timm(model, "image", config.image_weights)
    given = {name: getattr(config, name) for name in ("mask_ratio", "loss_coupling", "accumulate")}
    learning = mae_config(sizes, settings, alone=len(names) == 1, **given)
    # A model of one modality learns as long what a masked autoencoder learns.
    share = mae_config(sizes, settings).plain_share if len(names) == 1 else 1.0
    return train_mae(
        model, data.splits, learning, mae_loop(sizes, config.ema_decay), run, data.fingerprints, share=share
    )


def main() -> None:
    config = parse_config(MAEFlags, description=__doc__)
    check(config)
    config = replace(config, preset=config.preset or default_preset(config.images is not None))
    given = {name: getattr(config, name) for name in ("epochs", "batch_size", "lr", "fusion_query", "decoder")}
    sizes = replace(PRESETS[config.preset], **{name: value for name, value in given.items() if value is not None})
    refuse_too_much(sizes.settings, 2 * (config.per_class or 1), config.out)
    run = Run(make_accelerator(config.mixed_precision), config.out, config.resume is not None, config.seed)
    with run.alone():
        carry_out(config, sizes, run)


def carry_out(config: MAEFlags, sizes: Preset, run: Run) -> None:
    """All steps, in a folder that nobody else writes to."""
    out, model_folder = config.out, config.out / "model"
    costs = Costs(run.accelerator.device)

    with costs.phase("data"):
        data = read_data(config, sizes.settings, run)
    single_runs = {name: f"single_modal/{name}" for name in data.manifests}
    begin_run(run, config_to_dict(config) | {"sizes": config_to_dict(sizes)}, data, list(single_runs.values()))

    with costs.phase("train"):
        model = train(config, sizes, data, list(data.manifests), run)
    history = read_metrics(out / "metrics.jsonl")
    if run.accelerator.is_main_process:
        save_model(model, model_folder, CardFacts(data.training_counts(), members=data.members))
        if history:
            costs["train"]["samples_per_s"] = median(row["samples_per_s"] for row in history)
    single: dict[str, CrossModalMAE] = {}
    if config.single_modal:
        with costs.phase("train single-modal"):
            for name in model.modalities:
                single[name] = train(config, sizes, data, [name], run.stage(single_runs[name]))

    with costs.phase("generate"):
        real = data.splits["train"]
        per_class = config.per_class or data.largest_class()
        sampling = Sampling(config.steps, config.guidance)
        plan = make_plan(model, real, per_class, config.mask_ratio, config.seed, sampling=sampling)
        folder = write_dataset(model, plan, out / "synthetic", OutputOptions(overwrite=True))
    end_process_group()
    if not run.accelerator.is_main_process:
        return

    settings = model_settings(model)
    with costs.phase("evaluate"):
        synthetic = read_dataset(folder, settings)
        subject = MAERun(model, single, data, synthetic, settings, config.mask_ratio, config.seed)
        evaluated = evaluate_mae(subject, sizes.utility, run.accelerator, history)
    sections, _ = evaluated
    errors = {name: results[PATCH_ERROR].ratio for name, results in sections["fidelity"].items()}
    facts = CardFacts(data.training_counts(), hidden_patch_errors=errors, members=data.members)
    save_model(model, model_folder, facts, to_json(sections["utility"]))
    target = Target(model, None, data_sets_of(out), settings)
    page = report_run(out, config, data, target, evaluated, costs, config.fast or config.preset == "tiny")
    for sentence in shortcomings(sections["fidelity"], history):
        logger.warning("Not good yet: %s", sentence)
    show_results({"Report": page, "Data set": folder, "Model": model_folder}, config.open)


if __name__ == "__main__":
    run_command(main)
