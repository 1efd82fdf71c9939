"""What flags of condensation mean for the images at hand."""

from __future__ import annotations

import pytest

from mmgen.cli.condensation_flags import CondensationFlags
from mmgen.condensation.methods import settings_of
from mmgen.errors import UserError


def test_settings_of_medsynth_are_not_for_other_methods() -> None:
    flags = CondensationFlags(mask_weight=0.5, seed=3)
    assert settings_of("medsynth", flags).gan.mask_weight == 0.5
    with pytest.raises(UserError, match="--mask-weight belongs to the method medsynth, not to dm; leave it out"):
        settings_of("dm", flags)
    assert settings_of("dm", CondensationFlags(), 4).images_per_class == 4


def test_how_sets_are_chosen_is_said_of_methods_that_choose() -> None:
    flags = CondensationFlags(choose_from=7, choose_by="teacher")
    assert all(settings_of(method, flags).choose_from == 7 for method in ("mae", "medsynth"))
    assert settings_of("medsynth", flags).choose_by == settings_of("mae", CondensationFlags()).choose_by == "teacher"
    assert settings_of("medsynth", CondensationFlags()).choose_by == "mean"
    assert settings_of("mae", CondensationFlags(hand_on_teacher=True)).hand_on_teacher
    with pytest.raises(UserError, match="--hand-on-teacher belongs to the method mae, not to medsynth"):
        settings_of("medsynth", CondensationFlags(hand_on_teacher=True))


def test_every_flag_of_medsynth_has_its_field() -> None:
    flags = CondensationFlags(
        input_prior="real",
        prior_floor=3,
        epochs_phase1=4,
        epochs_phase2=0,
        batch_size=6,
        gan_weight=0.5,
        matching="logits",
        choose_from=7,
        adam_betas=(0.5, 0.9),
        backbone="vit_tiny_patch16_224",
    )
    settings = settings_of("medsynth", flags)
    assert (settings.input_prior, settings.floor, settings.choose_from) == ("real", 3, 7)
    assert (settings.phase1.count, settings.phase1.unit, settings.phase2.count) == (4, "epochs", 0)
    assert (settings.gan.batch_size, settings.gan.gan_weight, settings.gan.matching) == (6, 0.5, "logits")
    assert settings.gan.betas == (0.5, 0.9) and settings.backbone == "vit_tiny_patch16_224"
    assert settings_of("medsynth", CondensationFlags(skip_phase1=True)).phase1.count == 0
    with pytest.raises(UserError, match="--epochs-phase2 must be 0 or more"):
        settings_of("medsynth", CondensationFlags(epochs_phase2=-1))
