"""Do the two sides of a synthetic pair belong together? Asked of classifiers that were trained on real data.

One classifier a modality learns from the training part. A pair agrees when both sides are called the same label. Real
pairs are test files that share a label; synthetic ones are made from nothing, or one side from a real test file of
the other. Also the share of sides that are called the label they were asked for.

    python benchmarks/pair_agreement.py --images PATH --audio PATH --model runs/mine/model --out agreement.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from timing import write

from mmgen.artifacts.models import load_model, model_settings
from mmgen.cli.config import parse_config
from mmgen.data.loading import PairedData, prepare
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.data.sources import Source
from mmgen.errors import UserError
from mmgen.evaluation.outcomes import Outcome
from mmgen.evaluation.training_sets import reduced
from mmgen.evaluation.utility import UtilityConfig, trained_classifier
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.training.classifier import predict
from mmgen.training.engine import make_accelerator
from mmgen.training.run import Run

_AT_A_TIME = 100


@dataclass(frozen=True)
class AgreementBenchmark:
    """Flags of this benchmark."""

    images: Path
    audio: Path
    model: str
    out: Path
    per_class: int = 200
    seeds: int = 3
    """Of classifiers."""


def called(
    data: PairedData, sets: list[Mapping[str, Samples]], settings: Mapping[str, Settings], model: DenoisingMAE,
    seed: int, accelerator: Accelerator,
) -> list[dict[str, Outcome]]:  # fmt: skip
    """What classifiers trained on real data say of each set, by modality."""
    said: list[dict[str, Outcome]] = [{} for _ in sets]
    for name, modality in model.modalities.items():
        config = UtilityConfig().of_modality(modality, settings[name])
        classifier = trained_classifier(modality, data.splits["train"][name], config, Run(accelerator, seed=seed))
        for place, samples in enumerate(sets):
            own = reduced(samples[name], config.max_side)
            said[place][name] = Outcome.by_file(predict(classifier, modality, own, accelerator), own)
    return said


def agreement(said: Mapping[str, Outcome], is_paired: bool) -> dict[str, float]:
    """Share of pairs whose sides are called the same, and of sides that are called their label.

    Real files pair with every file of their label; in a synthetic set row by row.
    """
    one, other = said.values()
    shares = {f"{name}_as_asked": float((o.probabilities.argmax(1) == o.labels).mean()) for name, o in said.items()}
    calls = [o.probabilities.argmax(1) for o in (one, other)]
    if is_paired:
        return {"agree": float((calls[0] == calls[1]).mean()), **shares}
    by_label = []
    for label in np.unique(one.labels):
        left, right = calls[0][one.labels == label], calls[1][other.labels == label]
        by_label.append((left[:, None] == right).mean())
    return {"agree": float(np.mean(by_label)), **shares}


def synthetic(
    model: DenoisingMAE, config: AgreementBenchmark, real: Mapping[str, Samples], start: str, accelerator: Accelerator
) -> dict[str, Samples]:
    """Pairs from a label, or from whole real files of the modality ``start``."""
    labels = np.arange(len(model.class_names)).repeat(config.per_class)
    given, made = {}, []
    if start != "label":
        rows = [np.resize(np.flatnonzero(real[start].labels == label), config.per_class) for label in np.unique(labels)]
        given = {start: torch.from_numpy(real[start].values[np.concatenate(rows)])}
    torch.manual_seed(0)
    for part in torch.arange(len(labels)).split(_AT_A_TIME):
        with accelerator.autocast():
            inputs = {name: x[part] for name, x in given.items()}
            made.append(model.sample(torch.from_numpy(labels[part.numpy()]), inputs=inputs))
    values = {name: torch.cat([one[name] for one in made]).float().numpy() for name in model.modalities}
    return {name: Samples(x, labels, model.class_names, np.arange(len(labels))) for name, x in values.items()}


def main() -> None:
    config, accelerator = parse_config(AgreementBenchmark), make_accelerator("auto")
    model = load_model(config.model).eval()
    if not isinstance(model, DenoisingMAE):
        raise UserError(f"{config.model} is no denoising masked autoencoder; give one.")
    settings = model_settings(model)
    paths = {"image": config.images, "audio": config.audio}
    data = prepare({name: Source(paths[name], settings[name]) for name in paths})
    test = {name: data.splits["test"][name] for name in model.modalities}
    starts = ("label", *model.modalities)
    sets = [test, *(synthetic(model, config, test, start, accelerator) for start in starts)]
    runs = [called(data, sets, settings, model, seed, accelerator) for seed in range(config.seeds)]
    rows = []
    for place, kind in enumerate(("real", *(f"from {start}" for start in starts))):
        found = [agreement(run[place], place > 0) for run in runs]
        rows.append({"pairs": kind, **{key: [one[key] for one in found] for key in found[0]}})
        print(rows[-1])
        write(config.out, rows)


if __name__ == "__main__":
    main()
