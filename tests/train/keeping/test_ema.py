"""The average of the weights: its closed form, and a swap that leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from data_specs.errors import InputError
from train.keeping.ema import Ema


class Net(nn.Module):
    """A map, the same map under another name, and a buffer that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 2)
        self.again = self.map
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def test_closed_form() -> None:
    torch.manual_seed(0)
    model, decay = Net(), 0.75
    seen = [model.map.weight.detach().double().clone()]
    ema = Ema(model, decay)
    for step in range(1, 6):
        with torch.no_grad():
            model.map.weight.add_(torch.randn(2, 3))
        model.count.fill_(step)
        ema.update(model)
        seen.append(model.map.weight.detach().double().clone())
    expected = decay**5 * seen[0] + sum((1 - decay) * decay ** (5 - step) * seen[step] for step in range(1, 6))
    torch.testing.assert_close(ema.state["map.weight"].double(), expected, rtol=1e-6, atol=1e-6)
    assert ema.state["count"] == 5


def test_the_swap_leaves_no_trace_even_after_an_error() -> None:
    torch.manual_seed(0)
    model = Net()
    ema = Ema(model, 0.9)
    with torch.no_grad():
        model.map.weight.mul_(-3.3)
    ema.update(model)
    before, average = bits(model), {name: tensor.clone() for name, tensor in ema.state.items()}
    identities = [id(parameter) for parameter in model.parameters()]
    with pytest.raises(KeyError), ema.swapped(model):
        assert torch.equal(model.map.weight, average["map.weight"])
        with pytest.raises(RuntimeError, match="leave swapped"):
            ema.update(model)
        with pytest.raises(RuntimeError, match="leave swapped"):
            _ = ema.state
        raise KeyError
    assert bits(model) == before and [id(parameter) for parameter in model.parameters()] == identities
    assert all(torch.equal(tensor, ema.state[name]) for name, tensor in average.items())


def test_it_goes_on_from_a_state() -> None:
    torch.manual_seed(0)
    model = Net()
    one, other = Ema(model, 0.5), Ema(Net(), 0.5)
    other.load(one.state, Path("ckpt"))
    with torch.no_grad():
        model.map.weight.add_(1)
    for ema in (one, other):
        ema.update(model)
    assert all(torch.equal(tensor, other.state[name]) for name, tensor in one.state.items())
    with pytest.raises(InputError, match="ckpt: a checkpoint of another architecture"):
        other.load({}, Path("ckpt"))
