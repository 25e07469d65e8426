"""AdamW: what decays, the rate at each step, and a state that belongs to names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from data_specs.errors import InputError
from train.config import LossConfig, ModelConfig, OptimiserConfig
from train.model import RegionTextModel
from train.optimiser import learning_rate, load_by_name, make_optimiser, state_by_name

FILE = Path("step-00000001")


def rates(config: OptimiserConfig, steps: int) -> list[float]:
    return [learning_rate(config, step, batches_per_epoch=5, total_steps=steps) for step in range(steps)]


def test_milestones() -> None:
    config = OptimiserConfig(lr=1.0, warmup_steps=4, milestones=(2, 3))
    assert rates(config, 20) == pytest.approx([0.25, 0.5, 0.75, 1] + [1] * 6 + [0.1] * 5 + [0.01] * 5)


def test_cosine_rises_and_falls_to_nothing() -> None:
    config = OptimiserConfig(lr=2.0, warmup_steps=2, schedule="cosine")
    falling = [1 + math.cos(math.pi * gone / 8) for gone in range(8)]
    assert rates(config, 10) == pytest.approx([1.0, 2.0, *falling])
    assert learning_rate(config, 10, batches_per_epoch=5, total_steps=10) == pytest.approx(0, abs=1e-12)
    longer = OptimiserConfig(lr=2.0, warmup_steps=20, schedule="cosine")  # the run ends while the rate still rises
    assert rates(longer, 10) == pytest.approx([(step + 1) / 10 for step in range(10)])


def test_norms_biases_and_tables_are_not_decayed(model_config: ModelConfig) -> None:
    model = RegionTextModel.create(model_config, LossConfig(learn_temperature=True))
    decayed, plain = make_optimiser(model, OptimiserConfig(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0)
    names = {id(p): name for name, p in model.named_parameters()}
    assert len(names) == len(decayed["params"]) + len(plain["params"])
    ends = ("bias", "cls_token", "temporal_embed", "log_temperature")
    for parameter in plain["params"]:
        assert names[id(parameter)].endswith(ends) or "orm" in names[id(parameter)]
    assert all(names[id(p)].endswith("weight") and "orm" not in names[id(p)] for p in decayed["params"])


class Pair(nn.Module):
    """Two maps, registered in either order; ``idle`` gets no gradient."""

    def __init__(self, first: str) -> None:
        super().__init__()
        for name in sorted(("left", "right"), key=lambda name: name != first):
            self.add_module(name, nn.Linear(2, 3 if name == "left" else 4))
        self.idle = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x).square().sum() + self.right(x).square().sum()


def learn(model: nn.Module, optimiser: torch.optim.AdamW, steps: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.randn(5, 2, generator=rng)).backward()
        optimiser.step()


def test_state_by_name_survives_another_order_of_parameters() -> None:
    torch.manual_seed(0)
    one, other = Pair("left"), Pair("right")
    assert list(dict(one.named_parameters())) != list(dict(other.named_parameters()))
    optimisers = [make_optimiser(model, OptimiserConfig(lr=0.1)) for model in (one, other)]
    learn(one, optimisers[0], 3, seed=1)
    other.load_state_dict(one.state_dict())
    saved = {name: tensor.clone() for name, tensor in state_by_name(optimisers[0], one).items()}
    assert "exp_avg/idle" not in saved and saved["step/left.weight"] == 3
    load_by_name(optimisers[1], other, saved, FILE)
    for model, optimiser in zip((one, other), optimisers, strict=True):
        learn(model, optimiser, 2, seed=2)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert saved["step/left.weight"] == 3, "what was loaded is a copy"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"exp_avg/other.weight": torch.zeros(1)}, r"other\.weight, which does not learn"),
        ({"momentum/left.weight": torch.zeros(3, 2)}, "does not learn"),
        ({"rubbish": torch.zeros(1)}, "rubbish"),
        ({"exp_avg/left.weight": torch.zeros(2, 3)}, r"exp_avg/left\.weight is \[2, 3\], expected \[3, 2\]"),
        ({"exp_avg_sq/left.weight": torch.zeros(3, 2, dtype=torch.int32)}, "expected"),
        ({"step/left.weight": torch.tensor(math.nan)}, "no number of steps"),
        ({"step/left.weight": torch.tensor(-1.0)}, "no number of steps"),
        ({"step/left.weight": None}, r"left\.weight is not whole: step missing"),
    ],
)
def test_a_state_of_another_model_is_one_line(change: dict[str, Tensor | None], complaint: str) -> None:
    model = Pair("left")
    optimiser = make_optimiser(model, OptimiserConfig())
    learn(model, optimiser, 1, seed=0)
    changed = {name: t for name, t in (state_by_name(optimiser, model) | change).items() if t is not None}
    with pytest.raises(InputError, match=complaint) as caught:
        load_by_name(optimiser, model, changed, FILE)
    assert caught.value.exit_code == 2 and str(FILE) in caught.value.message


def test_fused_steps_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 4))
    model = nn.ParameterDict({"weight": weight})
    optimiser = make_optimiser(model, OptimiserConfig(lr=0.1, weight_decay=0.5, betas=(0.8, 0.9)))
    assert optimiser.defaults["fused"]
    expected, mean, square = weight.detach().double(), torch.zeros(3, 4).double(), torch.zeros(3, 4).double()
    for step in (1, 2, 3):
        weight.grad = torch.randn(3, 4)
        grad = weight.grad.double()
        mean, square = 0.8 * mean + 0.2 * grad, 0.9 * square + 0.1 * grad**2
        expected = expected * (1 - 0.1 * 0.5)
        expected = expected - 0.1 * mean / (1 - 0.8**step) / ((square / (1 - 0.9**step)).sqrt() + 1e-8)
        optimiser.step()
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_a_scaler_skips_an_overflow_and_leaves_weights_and_state() -> None:
    model = Pair("left")
    optimiser, scaler = make_optimiser(model, OptimiserConfig()), torch.amp.GradScaler("cpu", init_scale=4.0)
    learn(model, optimiser, 1, seed=0)
    before = {name: tensor.clone() for name, tensor in (model.state_dict() | state_by_name(optimiser, model)).items()}
    optimiser.zero_grad()
    scaler.scale(model(torch.full((1, 2), math.inf))).backward()
    scaler.unscale_(optimiser)
    scaler.step(optimiser)
    scaler.update()
    after = model.state_dict() | state_by_name(optimiser, model)
    assert before.keys() == after.keys() and all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert scaler.get_scale() == 2.0
