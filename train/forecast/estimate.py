"""What a run will take, before it starts: steps, hours, memory, disk. ``trial`` measures what is not counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from train.config import TrainConfig
from train.forecast.counts import Counts
from train.forecast.peak import sheet_flops

# V100 GPU-hours of the published runs of 50 epochs, by frames and share of the data (arXiv 2203.07720).
PUBLISHED = {(4, 1.0): 1600, (1, 1.0): 800, (1, 0.5): 416, (1, 0.2): 104}

USUAL_SHARE = 0.4  # of a GPU's peak, where nothing holds it up
OTHERS = (("V100", "fp16"), ("A100", "bf16"), ("H100", "bf16"))


@dataclass(frozen=True)
class Measured:
    """Seconds a step of one rank, seconds it takes to read its share of a batch (None: there was nothing to read), and
    the most memory it held, in MB: of the GPU, or of the process on a CPU."""

    step_s: float
    reading_s: float | None
    peak_mb: float


@dataclass(frozen=True)
class Prediction:
    """What a run with so many ranks will take; ``checkpoint_bytes`` is one of ``checkpoints`` on disk at a time.

    flops: what a step on the whole batch needs, over all ranks.
    """

    counts: Counts
    measured: Measured
    ranks: int
    device: str
    checkpoint_bytes: int
    checkpoints: int
    flops: float

    @property
    def seconds(self) -> float:
        """From the first step to the last: reading goes on while a step is computed, and the slower one counts."""
        return self.counts.steps * max(self.measured.step_s, self.measured.reading_s or 0.0)

    @property
    def device_hours(self) -> float:
        """Hours of all ranks' devices together."""
        return self.seconds * self.ranks / 3600

    def hours_on(self, name: str, precision: str) -> float:
        """Hours of that GPU, were it to use ``USUAL_SHARE`` of its peak."""
        peak = sheet_flops(name, precision)
        assert peak is not None, name
        return self.counts.steps * self.flops / (peak * USUAL_SHARE) / 3600


def lines(config: TrainConfig, prediction: Prediction) -> Iterator[str]:
    """The prediction for people."""
    counts, measured, ranks = prediction.counts, prediction.measured, prediction.ranks
    yield (
        f"{counts.samples:,} samples an epoch in {counts.batches:,} batches of {config.data.batch_size:,} at most;"
        f" {counts.steps:,} steps"
    )
    reading = ""
    if measured.reading_s is not None:
        reading = f", reading its batch {measured.reading_s:.3g} s at the same time"
    yield f"a step: {measured.step_s:.3g} s{reading}; peak memory {measured.peak_mb / 1e3:.1f} GB"
    many = f"{ranks} of this machine's {prediction.device}" if ranks > 1 else f"this machine's {prediction.device}"
    device_hours, hours = figure(prediction.device_hours), figure(prediction.seconds / 3600)
    yield f"predicted on {many}: {device_hours} device-hours, {hours} hours"
    if ranks > 1:
        yield "not in it: the exchange between ranks, and the loss against the other ranks' clips"
    total = prediction.checkpoint_bytes * prediction.checkpoints
    yield (
        f"disk: {total / 1e9:.2f} GB for {prediction.checkpoints} checkpoints of"
        f" {prediction.checkpoint_bytes / 1e9:.2f} GB"
    )
    others = ", ".join(f"{name} {figure(prediction.hours_on(name, dtype))} ({dtype})" for name, dtype in OTHERS)
    yield (
        f"a step's matrix products are {figure(prediction.flops / 1e12)} TFLOP; GPU-hours at {USUAL_SHARE:.0%} of the"
        f" peak: {others}"
    )
    published = PUBLISHED.get((config.data.frames, config.data.subset))
    if published is not None and config.model.preset == "base" and (config.epochs, config.data.rounds) == (50, 1):
        yield f"published for this recipe: {published:,} V100 GPU-hours"


def figure(value: float) -> str:
    """Three figures, and all of a number that has more before its point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
