from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import ModelCard
from small import small_model
from tiny_medsynth import LABELS, small_generator, tiny_samples

from mmgen.artifacts.card_facts import CardFacts, Scores
from mmgen.artifacts.cards import pixels_line, write_card
from mmgen.artifacts.models import save_model
from mmgen.models.class_prior import ClassPrior
from mmgen.models.medsynth import MedSynthGenerator


def test_the_card_says_what_the_model_has_seen_and_that_nobody_audited_it(model_folder: Path) -> None:
    card = (model_folder / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: mmgen\n")
    for line in (
        "| image | covid | 7 |",
        "| image | healthy | 5 |",
        "| audio | covid | 4 |",
        "| audio | healthy | 9 |",
    ):
        assert line in card
    assert "| image | (1, 32, 32) | (8, 8) | 16 |" in card
    assert "* error on hidden patches, image: 0.50 of the mean patch's" in card
    assert "Not audited" in card and "covid, healthy" in card


def test_the_hub_reads_the_card_and_what_was_measured(tmp_path: Path) -> None:
    scores = (Scores("convnet", 10, 0.8, 0.75, 0.9), Scores("resnet18", 50, 0.85, 0.8, 0.9))
    save_model(small_generator(), tmp_path, CardFacts(scores=scores))
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.library_name, card.data.license) == ("mmgen", "unknown")
    assert {"synthetic-data", "data-condensation", "medical"} == set(card.data.tags)
    found = [(x.task_type, x.metric_type, x.metric_name, x.metric_value) for x in card.data.eval_results]
    assert found == [
        ("image-classification", "roc_auc", "Macro AUC, convnet, 10 images a class", 0.8),
        ("image-classification", "roc_auc", "Macro AUC, resnet18, 50 images a class", 0.85),
    ]
    save_model(small_model(), tmp_path, CardFacts(hidden_patch_errors={"image": 0.5, "Maria Rossi": 0.5}))
    (result,) = ModelCard.load(tmp_path / "README.md").data.eval_results
    assert (result.metric_type, result.metric_value) == ("relative_mse", 0.5) and "image" in result.metric_name
    save_model(small_model(), tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert not card.data.eval_results
    for part in ("Intended use", "Training data", "Measured", "Limits", "Cite", "Privacy"):
        assert f"\n## {part}\n" in card.text


def test_a_card_without_measures_says_so(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path, CardFacts({"image": {"covid": 1}}))
    assert "## Measured\n\nNothing yet." in (tmp_path / "README.md").read_text()


def test_the_card_names_pooled_classes(tmp_path: Path) -> None:
    samples = tiny_samples((6, 8))
    images, labels = torch.from_numpy(samples.values), torch.from_numpy(samples.labels)
    people = torch.tensor([0] * 6 + list(range(1, 9)))
    prior = ClassPrior.fit(images, labels, LABELS, 4, subjects=people)
    model = MedSynthGenerator.build(small_generator().generator, LABELS, prior)
    save_model(model, tmp_path)
    text = "so they have that of all images: gesund."
    assert text in (tmp_path / "README.md").read_text(encoding="utf-8")
    save_model(small_generator(), tmp_path)
    assert "Too few people" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_only_modalities_and_labels_of_the_model_are_on_the_card(tmp_path: Path) -> None:
    counts = {"image": {LABELS[0]: 6, "Maria Rossi": 1}, "Maria Rossi": {LABELS[0]: 1}}
    save_model(small_generator(), tmp_path, CardFacts(counts, hidden_patch_errors={"Maria Rossi": 0.5}))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"| image | {LABELS[0]} | 6 |" in card and "Maria" not in card


def test_a_section_on_privacy_takes_the_place_of_the_warning(tmp_path: Path) -> None:
    for model in (small_model(), small_generator()):
        save_model(model, tmp_path)
        unaudited = (tmp_path / "README.md").read_text(encoding="utf-8")
        write_card(model, tmp_path, CardFacts(), "## Privacy\n\nAudited.\n")
        card = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert card == unaudited.partition("## Privacy")[0] + "## Privacy\n\nAudited.\n"


def test_only_of_models_that_may_hold_real_pixels_it_is_said() -> None:
    assert pixels_line(small_generator()) == pixels_line(small_model()) == ""
    assert pixels_line(small_generator(real=True)).startswith("* real pixels in the output: likely")


def test_labels_are_no_markup_on_a_card(tmp_path: Path) -> None:
    labels = ("<script>alert(1)</script> | &lt; T <2", "b")
    model = small_generator(real=True)
    model.class_names = labels
    save_model(model, tmp_path, CardFacts({"image": dict.fromkeys(labels, 3)}))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    shown = r"\<script\>alert(1)\</script\> \| \&lt; T \<2"
    assert f"| image | {shown} | 3 |\n" in card and f"{shown}, b" in card and "<script" not in card.replace(shown, "")


def test_the_card_of_a_model_that_draws_shows_how_and_that_it_needs_nothing(tmp_path: Path) -> None:
    save_model(small_model(decoder="denoise"), tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "Cross-modal masked autoencoder, denoising" in card and "it needs no real sample" in card
    assert "](preview.png)" in card and (tmp_path / "preview.png").is_file() and "generate_pairs" in card
    save_model(small_model(), tmp_path)
    assert "preview" not in (tmp_path / "README.md").read_text() and not (tmp_path / "preview.png").exists()
