from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mmgen.training.averaging import WeightAverage


def changing_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def change(network: nn.Module) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
        network(torch.randn(8, 3))  # new running statistics


def test_an_exponential_average_is_that_of_torch_to_the_bit() -> None:
    network = changing_network()
    ours, torchs = WeightAverage(network, 0.9, 0.0), AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(5):
        change(network)
        for average in (ours, torchs):
            average.update_parameters(network)
    expected = torchs.state_dict()
    assert ours.state_dict().keys() == expected.keys()  # so that checkpoints stay the same
    for name, value in ours.state_dict().items():
        if "running" in name or "tracked" in name:
            assert torch.equal(value, network.state_dict()[name.removeprefix("module.")])
        else:
            assert torch.equal(value, expected[name])


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_a_share_of_the_training_is_averaged_with_falling_weight(share: float) -> None:
    network = changing_network()
    average, expected = WeightAverage(network, 0.0, share), None
    for count in range(6):
        change(network)
        new = network[0].weight.detach().double()
        weight = min(1.0, 1.0 / (share * (count + 1)))
        expected = new if expected is None else expected + weight * (new - expected)
        average.update_parameters(network)
    torch.testing.assert_close(average.module[0].weight.detach().double(), expected, rtol=1e-5, atol=1e-6)
    assert not average.module[0].weight.detach().equal(network[0].weight) or share < 1 / 6
