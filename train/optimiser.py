"""AdamW, its learning rate, and its state by the names of parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.optim import AdamW

from data_specs.errors import InputError
from train.config import OptimiserConfig

_MILESTONE_FACTOR = 0.1
_NO_DECAY = ("cls_token", "temporal_embed", "parametrizations.weight.original0")
_FUSED_ON = {"cpu", "cuda"}
_STATE = ("exp_avg", "exp_avg_sq", "step")  # what AdamW keeps of a parameter


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> AdamW:
    """AdamW over the parameters that learn; norms, biases, [CLS], the temporal table, a learnt temperature and the
    lengths of weight-normalised rows are not decayed. One fused kernel updates them all where torch has one for their
    device."""
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (plain if parameter.ndim < 2 or name.endswith(_NO_DECAY) else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    fused = {parameter.device.type for parameter in (*decayed, *plain)} <= _FUSED_ON
    return AdamW(groups, lr=config.lr, betas=config.betas, fused=fused)


def learning_rate(config: OptimiserConfig, step: int, batches_per_epoch: int, total_steps: int) -> float:
    """The rate of step ``step`` (from 0) of ``total_steps``: linear warm-up, times the schedule.

    ``milestones``: ×0.1 from the start of each milestone's epoch on; one of 30 takes effect once 30 epochs are done.
    ``cosine``: ``(1 + cos(pi * t)) / 2`` with t from 0 at the end of the warm-up to 1 at ``total_steps``, so the last
    step still learns a little.
    """
    rising = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        gone = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
        return config.lr * rising * (1 + math.cos(math.pi * min(1.0, max(0.0, gone)))) / 2
    passed = sum(step >= milestone * batches_per_epoch for milestone in config.milestones)
    return config.lr * rising * _MILESTONE_FACTOR**passed


def state_by_name(optimiser: AdamW, model: nn.Module) -> dict[str, Tensor]:
    """What AdamW remembers, as ``exp_avg/NAME``, ``exp_avg_sq/NAME`` and ``step/NAME``: it does not depend on the
    order of parameters. The tensors are the optimiser's own, no copies."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{kind}/{names[parameter]}": entries[kind]
        for parameter, entries in optimiser.state.items()
        for kind in _STATE
        if kind in entries
    }


def load_by_name(optimiser: AdamW, model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Gives back what ``state_by_name`` took; ``source`` is where it comes from, for messages. Rates and decays stay
    those of ``optimiser``. The tensors are copied.

    Raises:
        InputError: it is the state of other parameters than these.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    learning = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    numbers = {names[parameter]: number for number, parameter in enumerate(learning)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        if kind not in _STATE or name not in numbers:
            raise InputError(f"{source}: optimiser state of {name or key}, which does not learn in this model")
        shape = () if kind == "step" else learning[numbers[name]].shape
        if tensor.shape != shape or not tensor.is_floating_point():
            raise InputError(f"{source}: optimiser state {key} is {list(tensor.shape)}, expected {list(shape)}")
        if kind == "step" and not 0 <= tensor.item() < math.inf:
            raise InputError(f"{source}: optimiser state {key} is {tensor.item()}, no number of steps")
        state.setdefault(numbers[name], {})[kind] = tensor.clone()
    for name, number in numbers.items():
        missing = set(_STATE) - state.get(number, dict.fromkeys(_STATE)).keys()
        if missing:
            raise InputError(f"{source}: optimiser state of {name} is not whole: {', '.join(sorted(missing))} missing")
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
