from __future__ import annotations

from types import SimpleNamespace

import accelerate
import pytest
import tiny
import torch

from mmgen.errors import UserError
from mmgen.training.engine import choose_attention, has_fast_bf16, make_accelerator, synchronise_parameters


def test_one_process_in_full_precision(accelerator):
    assert (accelerator.num_processes, accelerator.process_index, accelerator.is_main_process) == (1, 0, True)
    with accelerator.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bf16"), (False, "no")])
def test_auto_takes_bf16_where_the_machine_has_it(monkeypatch, fast, chosen):
    monkeypatch.setattr("mmgen.training.engine.has_fast_bf16", lambda: fast)
    monkeypatch.setattr(accelerate, "Accelerator", lambda **options: SimpleNamespace(num_processes=1, **options))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    made = make_accelerator()
    assert made.mixed_precision == chosen
    assert made.cpu is not torch.accelerator.is_available()
    assert isinstance(has_fast_bf16(), bool)


def test_auto_follows_what_the_process_has_already_chosen(accelerator, monkeypatch):
    monkeypatch.setattr("mmgen.training.engine.has_fast_bf16", lambda: True)
    assert make_accelerator().mixed_precision == accelerator.mixed_precision == "no"


def test_a_launcher_that_accelerate_does_not_see_is_refused(monkeypatch):
    monkeypatch.setattr(accelerate, "Accelerator", lambda **_: SimpleNamespace(num_processes=1))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="started 2 processes but Accelerate sees 1; check its --config_file"):
        make_accelerator("no")


def test_attention_path_is_chosen_for_every_layer():
    model = tiny.make_model()
    layers = [module for module in model.modules() if hasattr(module, "fused_attn")]
    assert len(layers) == 2 * 2 + 2 * 1 + 2 * 2  # encoder blocks, decoder blocks, fusion
    cases = ("cpu", "bf16", False), ("cuda", "bf16", True), ("cpu", "bf16", False), ("cpu", "no", True)
    for device, precision, fused in cases:
        choose_attention(model, torch.device(device), precision)
        assert {layer.fused_attn for layer in layers} == {fused}


def test_both_attention_paths_learn_alike():
    losses = []
    for device in ("cpu", "cuda"):
        model = tiny.make_model()
        choose_attention(model, torch.device(device))
        losses.append(model(tiny.make_inputs(), 0.5, model.noise(3, torch.Generator().manual_seed(0))))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)


def test_synchronising_one_process_changes_nothing():
    model = tiny.make_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    synchronise_parameters(model)
    assert tiny.same_weights(model.state_dict(), before)
