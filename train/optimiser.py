"""AdamW and its learning rate."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

from train.config import OptimiserConfig

_MILESTONE_FACTOR = 0.1
_NO_DECAY = ("cls_token", "temporal_embed")


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> AdamW:
    """AdamW over the parameters that learn; norms, biases, [CLS] and the temporal table are not decayed."""
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (plain if parameter.ndim < 2 or name.endswith(_NO_DECAY) else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return AdamW(groups, lr=config.lr, betas=config.betas)


def learning_rate(config: OptimiserConfig, step: int, batches_per_epoch: int) -> float:
    """The rate of step ``step`` (from 0): linear warm-up, then ×0.1 from the start of each milestone's epoch on.

    A milestone of 30 takes effect once 30 epochs are done.
    """
    passed = sum(step >= milestone * batches_per_epoch for milestone in config.milestones)
    rising = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    return config.lr * rising * _MILESTONE_FACTOR**passed
