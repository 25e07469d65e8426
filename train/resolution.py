"""What a configuration leaves to the machine or to the model that it starts from, decided once and written down."""

from __future__ import annotations

from train.config import TrainConfig
from train.device import choose_device, choose_precision
from train.start import starting_loss


def resolved(config: TrainConfig) -> TrainConfig:
    """The configuration with the precision that ``auto`` means on this machine, and with the loss of the model that it
    starts from where it says no other: a run goes on as it began.

    Raises:
        InputError: its device is not on this machine, or there is no model to start from.
    """
    precision = choose_precision(config.precision, choose_device(config.device))
    loss = config.loss if config.start is None else starting_loss(config.start, config.loss)
    return config.model_copy(update={"precision": precision, "loss": loss})
