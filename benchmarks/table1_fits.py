"""Fits of ``table1.py``: each method is fitted once, can be gone on with, and is kept with what it cost."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from table1_rows import MEDSYNTH_REAL, NAMES, SELECTIONS
from timm.models.vision_transformer import VisionTransformer

from mmgen.artifacts.models import load_model
from mmgen.artifacts.provenance import config_to_dict
from mmgen.condensation.condenser import image_modality, to_samples
from mmgen.condensation.medsynth import MedSynth, MedSynthConfig, condense
from mmgen.condensation.methods import METHODS, make_condenser, preset
from mmgen.condensation.representatives import representatives, worth_choosing
from mmgen.data.loading import PairedData
from mmgen.data.samples import Samples
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError
from mmgen.evaluation.report.text import duration
from mmgen.models.condensed import CondensedModel
from mmgen.models.medsynth import RealImages
from mmgen.names import IMAGE, AugmentationName, BudgetName, MethodName
from mmgen.training.engine import peak_memory_mb
from mmgen.training.run import Run, read_metrics

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger("mmgen")

# Stages that are the same for all fits of one of the library's methods: done once, then copied.
SHARED: dict[str, tuple[str, ...]] = {
    "subset": ("features",),
    "it_gan": ("gan", "features"),
    "medsynth": ("classifier",),
}


def condensation_method(method: str) -> MethodName:
    """Name of a row's method among the library's."""
    known = {**dict.fromkeys(SELECTIONS, "subset"), MEDSYNTH_REAL: "medsynth"}
    return cast(MethodName, known.get(method, method))


def fits_one_size(method: str) -> bool:
    """Whether a row's method is fitted anew for every number of images a class."""
    return METHODS[condensation_method(method)].fits_one_size


def makes_fresh(method: str) -> bool:
    """Whether any number of images can be made that are neither stored nor made of real ones."""
    return method != MEDSYNTH_REAL and not fits_one_size(method)


@dataclass
class Cost:
    """What a training took; ``path`` keeps it.

    Attributes:
        settings: of the training.
        seconds: of all sittings that ended by themselves, with those of what was taken from another fit.
        sittings: how often it was begun or gone on with.
        finished: whether what it made is there.
        device, peak_memory_mb: of the last sitting; on a CPU the largest of the process so far.
    """

    path: Path
    settings: dict[str, Any]
    seconds: float = 0.0
    sittings: int = 0
    finished: bool = False
    device: str = ""
    peak_memory_mb: float = 0.0

    @classmethod
    def read(cls, path: Path, settings: dict[str, Any]) -> Cost:
        """What is kept there, or the cost of nothing.

        Raises:
            UserError: it is of other settings.
        """
        settings = json.loads(json.dumps(settings))
        if not path.is_file():
            return cls(path, settings)
        kept = cls(path, **json.loads(path.read_text(encoding="utf-8")))
        if kept.settings != settings:
            raise UserError(
                f"{path.parent} was trained with other settings than this version's; remove it and the rows of its "
                "method, or choose another --out."
            )
        return kept

    def pay(self, work: Callable[[], None], accelerator: Accelerator) -> None:
        """Do it and keep what it took, also where it is interrupted."""
        self.sittings += 1
        self._write()
        start, before = time.perf_counter(), self.seconds
        try:
            work()
            self.finished = True
        finally:
            self.seconds = before + time.perf_counter() - start
            self.device = accelerator.device.type
            self.peak_memory_mb = peak_memory_mb(accelerator.device)
            self._write()

    def _write(self) -> None:
        content = {key: value for key, value in vars(self).items() if key != "path"}
        with new_file(self.path, sync=True) as file:
            file.write(json.dumps(content, ensure_ascii=False, indent=1).encode())


class Fits:
    """Models of all methods in one folder, fitted when they are first asked for.

    Args:
        run: its folder gets fits/METHOD or fits/METHOD_ipcN, and backbone.
        budget, augmentation: see :func:`mmgen.condensation.methods.preset`.
        backbone, weights: what MedSynth and "vit_lora" tune, see :meth:`MedSynth.pretrain`.
    """

    def __init__(
        self,
        run: Run,
        data: PairedData,
        budget: BudgetName,
        augmentation: AugmentationName,
        backbone: str,
        weights: Path | None,
    ) -> None:
        self.run, self.data, self.budget, self.augmentation = run, data, budget, augmentation
        self.folder = cast(Path, run.folder)
        self.train = data.splits["train"][IMAGE]
        self.medsynth: MedSynthConfig = preset(
            "medsynth", budget, 1, augmentation, backbone=backbone, backbone_weights=weights
        )
        self.modality = image_modality(IMAGE, self.train, self.medsynth.own_backbone.patch)
        self._backbone: VisionTransformer | None = None
        self._loaded: tuple[Path, CondensedModel] | None = None

    @property
    def backbone(self) -> VisionTransformer:
        """The ViT that "vit_lora" tunes, pretrained once; MedSynth's too."""
        if self._backbone is None:
            cost = self._backbone_cost()
            if cost.finished:
                self._backbone = self._make_backbone()
            else:
                cost.pay(self._pretrain, self.run.accelerator)
                logger.info("Backbone: %s, %s", self.medsynth.backbone, duration(cost.seconds))
        return cast(VisionTransformer, self._backbone)

    def sample(self, method: str, images_per_class: int | None, count: int, seed: int) -> tuple[Samples, float]:
        """``count`` images of each class from a fitted model, see :meth:`model`, and the seconds that its fit took.

        Sets of MedSynth and of the autoencoder are chosen from draws as where they are used, fresh ones are draws.
        """
        model, seconds = self.model(method, images_per_class)
        if method == MEDSYNTH_REAL:
            real = RealImages(self.train.values, torch.from_numpy(self.train.labels))
            return condense(model, real, count, seed), seconds
        pool = getattr(self._settings(method, count), "choose_from", 0)
        if images_per_class is not None and worth_choosing(count, pool):
            return representatives(model, count, pool, seed, self.run.accelerator.device), seconds
        return to_samples(model.sample(count, seed)), seconds

    def model(self, method: str, images_per_class: int | None) -> tuple[CondensedModel, float]:
        """A fitted model and the seconds that its fit took.

        Args:
            method: of a row.
            images_per_class: what it is to give; of no concern to methods that are fitted once for all.
        """
        count = images_per_class if fits_one_size(method) else None
        folder = self.folder / "fits" / (method if count is None else f"{method}_ipc{count}")
        settings = self._settings(method, count or 1)
        cost = Cost.read(folder / "fit.json", config_to_dict(settings, whole_paths=False) | {"seed": self.run.seed})
        if not cost.finished:
            if condensation_method(method) == "medsynth":
                _ = self.backbone  # has a cost of its own
            cost.seconds += self._take_shared(method, folder)
            logger.info("Fitting %s%s ...", NAMES[method], "" if count is None else f", {count} a class")
            cost.pay(lambda: self._fit(method, settings, folder), self.run.accelerator)
            logger.info("Fitted %s in %s.", folder.name, duration(cost.seconds))
        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = folder, cast(CondensedModel, load_model(folder / "model")).to(self.run.accelerator.device)
        shared = self._backbone_cost().seconds if condensation_method(method) == "medsynth" else 0.0
        return self._loaded[1], cost.seconds + shared

    def _settings(self, method: str, images_per_class: int) -> Any:
        library = condensation_method(method)
        if library == "medsynth":
            return replace(self.medsynth, input_prior="real") if method == MEDSYNTH_REAL else self.medsynth
        options: dict[str, Any] = {"selection": method} if method in SELECTIONS else {}
        if library == "mae":
            options["hand_on_teacher"] = True  # by which its sets are chosen
        return preset(library, self.budget, images_per_class, self.augmentation, **options)

    def _fit(self, method: str, settings: Any, folder: Path) -> None:
        condenser = self._condenser(condensation_method(method), settings, folder)
        if isinstance(condenser, MedSynth):
            condenser.backbone = self.backbone
        condenser.fit()
        shutil.rmtree(folder / "model", ignore_errors=True)  # of a run that was killed while it wrote
        condenser.save(folder / "model")

    def _condenser(self, method: MethodName, settings: Any, folder: Path) -> Any:
        return make_condenser(method, settings, replace(self.run, folder=folder, resume=True), self.data)

    def _take_shared(self, method: str, folder: Path) -> float:
        """Copy stages that a finished fit of the same method has done; the seconds that they took there."""
        seconds = 0.0
        library = condensation_method(method)
        fits = [path.parent for path in sorted((self.folder / "fits").glob("*/fit.json"))]
        kin = [other for other in fits if condensation_method(other.name.split("_ipc")[0]) == library]
        done = [other for other in kin if json.loads((other / "fit.json").read_text(encoding="utf-8"))["finished"]]
        for stage in SHARED.get(library, ()):
            source = next((other / stage for other in done if (other / stage / "checkpoints").is_dir()), None)
            if source is not None and not (folder / stage).exists():
                shutil.copytree(source, folder / f"{stage}.copy", dirs_exist_ok=True)
                (folder / f"{stage}.copy").rename(folder / stage)
                seconds += sum(row["seconds"] for row in read_metrics(folder / stage / "metrics.jsonl"))
        return seconds

    def _backbone_cost(self) -> Cost:
        settings = config_to_dict(self.medsynth, whole_paths=False)
        used = {name: settings[name] for name in ("backbone", "backbone_weights", "own_backbone")}
        return Cost.read(self.folder / "backbone" / "fit.json", used | {"seed": self.run.seed})

    def _pretrain(self) -> None:
        self._backbone = self._make_backbone()

    def _make_backbone(self) -> VisionTransformer:
        """Pretrained here, gone on with, or read again from its last checkpoint."""
        condenser = self._condenser("medsynth", self.medsynth, self.folder)
        condenser.pretrain()
        return condenser.backbone
