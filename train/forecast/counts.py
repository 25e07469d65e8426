"""What a run comes to in numbers, before anything is read or computed: batches, steps, bytes of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from train.config import TrainConfig
from train.reading.order import subset_size, turns


@dataclass(frozen=True)
class Counts:
    """Batches an epoch, the samples in them, and the steps of the whole run."""

    batches: int
    samples: int
    steps: int


def counts_of(config: TrainConfig, folders: Sequence[int]) -> Counts:
    """The counts of folders that hold so many samples each, as ``train.stream`` takes them in turn."""
    taken = [subset_size(samples, config.data.subset) for samples in folders]
    sizes = [min(config.data.batch_size, many) for many in taken]
    batches = [many // size if size else 0 for many, size in zip(taken, sizes, strict=True)]
    epoch = turns(batches, sizes, config.data.epoch_samples, config.data.rounds)
    return counted(config, len(epoch), sum(sizes[source] for source, _ in epoch))


def counted(config: TrainConfig, batches: int, samples: int) -> Counts:
    """The counts of epochs of so many batches that hold so many samples."""
    steps = config.epochs * batches
    return Counts(batches, samples, min(steps, config.max_steps or steps))


def checkpoint_bytes(every: int, learning: int, average: bool = False) -> int:
    """Bytes of a checkpoint: float32 weights, two moments a weight that learns, and perhaps the weights' average."""
    return 4 * every * (2 if average else 1) + 2 * 4 * learning


def checkpoints_at_once(config: TrainConfig, steps: int) -> int:
    """Those that are kept, and one more while it is written."""
    return min(config.keep, max(1, steps // config.checkpoint_every)) + 1
