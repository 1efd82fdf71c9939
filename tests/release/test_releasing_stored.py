"""Releases of condensed sets that are real images, began as such, or were fitted to such."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_medsynth import LABELS, tiny_samples, write_condensed

from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.models import model_digest, save_model
from mmgen.data.writing.soft_labels import SOFT_LABELS
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError
from mmgen.generation.plan import make_plan
from mmgen.generation.writing import OutputOptions, write_dataset
from mmgen.models.condensed import CondensedModel
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.stored import StoredImages, StoredLatents
from mmgen.release.datasets import dataset_digest
from mmgen.release.releasing import ReleaseRefused, write_release

QUIET = {
    "auc": 0.5, "auc_ci": [0.47, 0.53], "tpr_at_1_fpr": 0.01, "tpr_at_1_fpr_ci": [0.0, 0.02], "n_members": 500,
    "n_non_members": 500, "counts": True,
}  # fmt: skip
INNOCENT = {
    "effort": {"fast": False},
    "disguised_copies": {
        "found": 0, "of": 400, "p_value": 1.0, "false_alarm_rate": 0.01, "compared": 500, "power": {"shift": 0.98},
        "planted": 20, "people": 400,
    },
    "logan_black_box": QUIET | {"threat_model": "G"},
    "domias": QUIET | {"threat_model": "S"},
    "copies": {
        "exact": 0, "near": 0, "by_ratio": 0, "by_ratio_of_others": 0, "of_others": 200, "of": 400,
        "share_closer_to_training": 0.5, "share_closer_ci": [0.46, 0.54], "pairs": []
    },
    "pass_through": {"share": 0.0, "how": "-", "patches": 0},
}  # fmt: skip


def model_of(method: str) -> CondensedModel:
    """An untrained model of a method."""
    if method in ("subset", "dm"):
        train = tiny_samples((3, 3))
        return StoredImages.build(np.asarray(train.values), train.labels, train.label_names, method)
    torch.manual_seed(0)
    generator = ConditionalGenerator(32, 3, list(LABELS), noise=8, width=4)
    return generator.eval() if method == "dcgan" else StoredLatents.build(generator, torch.randn(2, 3, 8))


def run_of(method: str, folder: Path) -> Path:
    """A run with model, data set, and an audit that found nothing."""
    model = model_of(method)
    save_model(model, folder / "model", CardFacts({"image": dict.fromkeys(LABELS, 3)}, 6))
    write_condensed(model, 3, 0, folder / "synthetic")
    of = {
        "model": model_digest(model),
        "data_sets": {"synthetic": dataset_digest(folder / "synthetic")},
        "modalities": ["image"],
    }
    about = {"audited": True, "created": "2026-01-02T03:04:05+00:00", "of": of, "privacy": INNOCENT, "verdicts": []}
    (folder / "audit").mkdir()
    (folder / "audit" / "privacy.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize("parts", ["all", "model", "data"])
def test_a_subset_of_real_images_is_never_released(parts: str, tmp_path: Path) -> None:
    run = run_of("subset", tmp_path / "run")
    with pytest.raises(UserError, match="a subset of the real images, which is never released"):
        write_release(run, tmp_path / "out", parts=parts, override=("Dr. Who", "because"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="never released"):
        write_release(run / "synthetic", tmp_path / "out", audit=run / "audit")
    assert not (tmp_path / "out").exists()
    readme = (run / "synthetic" / "README.md").read_text(encoding="utf-8")
    assert "\n# Subset of a real data set\n" in readme and "real samples, unchanged" in readme


@pytest.mark.parametrize("method", ["dm", "it_gan"])
@pytest.mark.parametrize("parts", ["model", "data"])
def test_what_began_as_real_images_needs_an_override(method: str, parts: str, tmp_path: Path) -> None:
    run = run_of(method, tmp_path / "run")
    with pytest.raises(ReleaseRefused, match="made of real data, pixels of which it may hold"):
        write_release(run, tmp_path / "out", parts=parts)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    write_release(run, tmp_path / "out", parts=parts, override=("Dr. Who", "they agreed"))  # type: ignore[arg-type]
    assert "they agreed" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_generator_from_noise_is_released_after_its_audit(tmp_path: Path) -> None:
    run = run_of("dcgan", tmp_path / "run")
    write_release(run, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "model").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "preview.png", "privacy.json"}
    about = json.loads((tmp_path / "out" / "synthetic" / "dataset.json").read_text(encoding="utf-8"))
    assert about["generator"]["method"] == "dcgan" and about["input_prior"] == "noise"


@pytest.mark.parametrize("method", ["subset", "dm", "it_gan", "dcgan"])
def test_cards_do_not_deny_what_is_in_the_file(method: str, tmp_path: Path) -> None:
    card = (run_of(method, tmp_path / "run") / "model" / "README.md").read_text(encoding="utf-8")
    assert ("is a picture of a person" in card) == (method == "dcgan")
    assert ("do not share them" in card) == (method == "subset")
    assert ("may show real people" in card) == (method in ("dm", "it_gan"))


def test_soft_labels_are_released_as_they_were_once_they_were_attacked(tmp_path: Path) -> None:
    run, soft = run_of("dcgan", tmp_path / "run"), np.array([[0.75, 0.25]] * 3 + [[0.5, 0.5]] * 3, dtype=np.float32)
    plan = make_plan(model_of("dcgan"), per_class=3, seed=0)
    before = dataset_digest(run / "synthetic")
    write_dataset(
        model_of("dcgan"), plan, run / "synthetic", OutputOptions(overwrite=True), soft_labels=soft
    )  # after the audit
    with pytest.raises(UserError, match="changed after the audit"):
        write_release(run, tmp_path / "out", override=("Dr. Who", "because"))
    audit = run / "audit" / "privacy.json"
    audit.write_text(audit.read_text().replace(before, dataset_digest(run / "synthetic")))
    with pytest.raises(ReleaseRefused, match="its soft labels are not audited"):
        write_release(run, tmp_path / "out")
    about = json.loads(audit.read_text())
    leaking = QUIET | {"threat_model": "S", "auc": 0.9, "auc_ci": [0.8, 0.95]}
    audit.write_text(json.dumps(about | {"privacy": INNOCENT | {"soft_labels": leaking}}))
    with pytest.raises(ReleaseRefused, match=r"student of the soft labels: AUC 0\.90"):
        write_release(run, tmp_path / "out")
    audit.write_text(json.dumps(about | {"privacy": INNOCENT | {"soft_labels": QUIET | {"threat_model": "S"}}}))
    write_release(run, tmp_path / "out")
    released = tmp_path / "out" / "synthetic"
    assert (released / SOFT_LABELS).read_bytes() == (run / "synthetic" / SOFT_LABELS).read_bytes()
    assert verify_dataset(released) == [] and f"synthetic/{SOFT_LABELS}" in (tmp_path / "out/SHA256SUMS").read_text()
    assert SOFT_LABELS in (released / "README.md").read_text(encoding="utf-8")
