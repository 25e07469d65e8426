"""What a run will take, before it starts: counts of the shards, seconds and memory of a few steps of the real model.

Letters: B videos, F frames, R regions a frame, V feature width, K box width.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, islice

import torch

from data_specs.errors import InputError
from train.batch import RegionBatch
from train.config import TrainConfig
from train.device import DTYPES, choose_device, resolved
from train.losses import ContrastiveLoss
from train.model import RegionTextModel
from train.objective.cached_gradients import learn
from train.optimiser import make_optimiser
from train.reading.order import subset_size, turns
from train.stream import RegionStream
from train.trainer import make_model

WORD_PIECES = 15  # of a caption, where no shard is there to tell; WebVid's and CC3M's have about as many
_BATCHES = 4
_LEAST_STEPS, _MOST_STEPS, _ENOUGH_S = 3, 20, 5.0
# V100 GPU-hours of the published runs of 50 epochs, by frames and share of the data (arXiv 2203.07720).
PUBLISHED = {(4, 1.0): 1600, (1, 1.0): 800, (1, 0.5): 416, (1, 0.2): 104}


@dataclass(frozen=True)
class Counts:
    """Batches an epoch, the samples in them, and the steps of the whole run."""

    batches: int
    samples: int
    steps: int


@dataclass(frozen=True)
class Measured:
    """Seconds a step of one rank, seconds it takes to read its share of a batch (None: there was nothing to read), and
    the most bytes it held: of the GPU, or of the process on a CPU."""

    step_s: float
    reading_s: float | None
    peak_bytes: int


@dataclass(frozen=True)
class Prediction:
    """What a run with so many ranks will take; ``checkpoint_bytes`` is one of ``checkpoints`` on disk at a time."""

    counts: Counts
    measured: Measured
    ranks: int
    device: str
    checkpoint_bytes: int
    checkpoints: int

    @property
    def seconds(self) -> float:
        """From the first step to the last: reading goes on while a step is computed, and the slower one counts."""
        return self.counts.steps * max(self.measured.step_s, self.measured.reading_s or 0.0)

    @property
    def device_hours(self) -> float:
        """Hours of all ranks' devices together."""
        return self.seconds * self.ranks / 3600


def predict(config: TrainConfig, ranks: int = 1, samples: int | None = None) -> Prediction:
    """Predicts what ``config`` will take with ``ranks`` ranks like this machine; writes nothing.

    samples: how many all folders of shards will hold together, where they are not there yet.

    Raises:
        InputError: the shards are not there and ``samples`` is not given, or the model cannot be made.
    """
    config = resolved(config)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = make_model(config)
    try:
        data = config.data.model_copy(update={"verify_hashes": False, "workers": 0})
        stream = RegionStream(data, config.model.box_dim, 0, ranks)
    except InputError as error:
        if samples is None:
            raise InputError(f"{error.message}; or say how many samples there will be with --samples N") from None
        counts, reading_s = counts_of(config, [samples]), None
        batches = [_made_up(config, max(1, round(config.data.batch_size / ranks)), model)]
    else:
        counts = _counts(config, stream.batches_per_epoch, stream.samples_per_epoch)
        batches, reading_s = _read(stream)
    step_s, peak = measure(config, model, batches)
    every, learning = (
        sum(p.numel() for p in model.parameters() if p.requires_grad or not only) for only in (False, True)
    )
    return Prediction(
        counts,
        Measured(step_s, reading_s, peak),
        ranks,
        str(choose_device(config.device)),
        checkpoint_bytes(every, learning, config.optimiser.ema_decay is not None),
        min(config.keep, max(1, counts.steps // config.checkpoint_every)) + 1,  # one more while it is written
    )


def counts_of(config: TrainConfig, folders: Sequence[int]) -> Counts:
    """The counts of folders that hold so many samples each, as ``train.stream`` takes them in turn."""
    taken = [subset_size(samples, config.data.subset) for samples in folders]
    sizes = [min(config.data.batch_size, many) for many in taken]
    batches = [many // size if size else 0 for many, size in zip(taken, sizes, strict=True)]
    epoch = turns(batches, sizes, config.data.epoch_samples)
    return _counts(config, len(epoch), sum(sizes[source] for source, _ in epoch))


def checkpoint_bytes(every: int, learning: int, average: bool = False) -> int:
    """Bytes of a checkpoint: float32 weights, two moments a weight that learns, and perhaps the weights' average."""
    return 4 * every * (2 if average else 1) + 2 * 4 * learning


def measure(
    config: TrainConfig, model: RegionTextModel, batches: list[tuple[RegionBatch, tuple[str, ...]]]
) -> tuple[float, int]:
    """Seconds of a step of the trainer's kind (median; the first is not counted) and the most bytes held."""
    device, dtype = choose_device(config.device), DTYPES.get(config.precision)
    model = model.to(device)
    loss, optimiser = ContrastiveLoss(config.loss), make_optimiser(model, config.optimiser)
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    took: list[float] = []
    for video, captions in islice(cycle(batches), _MOST_STEPS + 1):
        began = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        learn(
            model, loss, video.to(device), model.tokenizer(captions).to(device),
            chunk_size=config.chunk_size, scale=scaler.scale,
            autocast=lambda: torch.autocast(device.type, dtype, enabled=dtype is not None),
        )  # fmt: skip
        scaler.step(optimiser)
        scaler.update()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - began)
        if len(took) > _LEAST_STEPS and sum(took[1:]) > _ENOUGH_S:
            break
    if device.type == "cuda":
        return statistics.median(took[1:]), torch.cuda.max_memory_allocated(device)
    return statistics.median(took[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def lines(config: TrainConfig, prediction: Prediction) -> Iterator[str]:
    """The prediction for people."""
    counts, measured, ranks = prediction.counts, prediction.measured, prediction.ranks
    yield (
        f"{counts.samples:,} samples an epoch in {counts.batches:,} batches of {config.data.batch_size:,};"
        f" {counts.steps:,} steps"
    )
    reading = ""
    if measured.reading_s is not None:
        reading = f", reading {measured.reading_s:.3g} s (at the same time)"
    many = f"{ranks} of this machine's {prediction.device}" if ranks > 1 else f"this machine's {prediction.device}"
    yield f"a step: {measured.step_s:.3g} s{reading}; peak memory {measured.peak_bytes / 1e9:.1f} GB"
    yield f"predicted on {many}: {prediction.device_hours:,.3g} device-hours, {prediction.seconds / 3600:,.3g} hours"
    if ranks > 1:
        yield "not in it: the exchange between ranks, and the loss against the other ranks' clips"
    total = prediction.checkpoint_bytes * prediction.checkpoints
    yield (
        f"disk: {total / 1e9:.1f} GB for {prediction.checkpoints} checkpoints of"
        f" {prediction.checkpoint_bytes / 1e9:.2f} GB"
    )
    published = PUBLISHED.get((config.data.frames, config.data.subset))
    if published is not None and config.model.preset == "base" and config.epochs == 50:
        yield f"published for this recipe: {published:,} V100 GPU-hours"


def _counts(config: TrainConfig, batches: int, samples: int) -> Counts:
    steps = config.epochs * batches
    return Counts(batches, samples, min(steps, config.max_steps or steps))


def _read(stream: RegionStream) -> tuple[list[tuple[RegionBatch, tuple[str, ...]]], float | None]:
    """The first batches of an epoch, and seconds a batch after the first, which opens shards."""
    with closing(stream.epoch(0)) as epoch:
        first = next(epoch)
        began = time.perf_counter()
        rest = list(islice(epoch, _BATCHES - 1))
        each_s = (time.perf_counter() - began) / len(rest) if rest else None
    return [(batch.video, batch.captions) for batch in (first, *rest)], each_s


def _made_up(config: TrainConfig, size: int, model: RegionTextModel) -> tuple[RegionBatch, tuple[str, ...]]:
    """Random regions, all of them real, and captions of ``WORD_PIECES`` word pieces."""
    shape_BFR = (size, config.data.frames, config.data.regions)
    features_BFRV = torch.randn(*shape_BFR, config.model.feature_dim).half()
    boxes_BFRK = torch.rand(*shape_BFR, config.model.box_dim)
    caption = " ".join(["a"] * min(WORD_PIECES, config.model.max_words))
    return RegionBatch(features_BFRV, boxes_BFRK, torch.ones(shape_BFR, dtype=torch.bool)), (caption,) * size
