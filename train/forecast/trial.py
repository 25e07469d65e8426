"""A few steps of the real model, as the trainer makes them, to see what a run will take. Nothing is written or kept.

Letters: B videos, F frames, R regions a frame, V feature width, K box width.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import cycle, islice

import torch
from torch.nn.utils import clip_grad_norm_

from data_specs.errors import InputError
from train.batch import RegionBatch
from train.config import TrainConfig
from train.device import DTYPES, choose_device
from train.forecast.counts import checkpoint_bytes, checkpoints_at_once, counted, counts_of
from train.forecast.estimate import Measured, Prediction
from train.keeping.ema import Ema
from train.optimiser import make_optimiser
from train.reading.texts import Asked
from train.resolution import resolved
from train.run.meter import peak_memory_mb
from train.stream import Batch, RegionStream
from train.tasks.task import Task, task_of

WORD_PIECES = 15  # of a caption, where no shard is there to tell; WebVid's and CC3M's have about as many
_BATCHES = 4
_LEAST_STEPS, _MOST_STEPS, _ENOUGH_S = 3, 20, 5.0


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
    task = task_of(config)
    reading_s = None
    if samples is not None:
        counts = counts_of(config, [samples])
        batches = [made_up(config, -(-min(config.data.batch_size, samples) // ranks))]
    else:
        data = config.data.model_copy(update={"verify_hashes": False, "workers": 0})
        try:
            stream = RegionStream(data, config.model.box_dim, 0, ranks)
        except InputError as error:
            raise InputError(f"{error.message}; before there are shards, say --samples N") from None
        counts = counted(config, stream.batches_per_epoch, stream.samples_per_epoch)
        batches, reading_s = _read(stream)
    step_s, peak_mb = measure(config, task, batches)
    sizes = [(p.numel(), p.requires_grad) for p in task.model.parameters()]
    return Prediction(
        counts,
        Measured(step_s, reading_s, peak_mb),
        ranks,
        choose_device(config.device).type,
        checkpoint_bytes(
            sum(size for size, _ in sizes),
            sum(size for size, learns in sizes if learns),
            config.optimiser.ema_decay is not None,
        ),
        checkpoints_at_once(config, counts.steps),
        statistics.mean(task.cost(task.prepare(batch), ranks).useful for batch in batches),
    )


def measure(config: TrainConfig, task: Task, batches: Sequence[Batch]) -> tuple[float, float]:
    """Seconds of a step (median; the first is not counted) and the most MB held; the task's model learns from it.

    A step is the trainer's: the gradient is clipped, and the weights are averaged where they are to be.
    """
    device, dtype = choose_device(config.device), DTYPES.get(config.precision)
    model = task.model.to(device)
    optimiser = make_optimiser(model, config.optimiser)
    average = Ema(model, config.optimiser.ema_decay) if config.optimiser.ema_decay else None
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    took: list[float] = []
    for batch in islice(cycle(batches), _MOST_STEPS + 1):
        began = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        task.learn(
            model,
            task.prepare(batch).to(device),
            lambda: torch.autocast(device.type, dtype, enabled=dtype is not None),
            scaler.scale,
        )
        scaler.unscale_(optimiser)
        clip_grad_norm_(model.parameters(), config.optimiser.clip_norm or math.inf)
        scaler.step(optimiser)
        scaler.update()
        if average is not None:
            average.update(model)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - began)
        if len(took) > _LEAST_STEPS and sum(took[1:]) > _ENOUGH_S:
            break
    return statistics.median(took[1:]), peak_memory_mb(device)


def made_up(config: TrainConfig, clips: int) -> Batch:
    """Random regions, all of them real, and captions or questions of ``WORD_PIECES`` word pieces."""
    shape_BFR = (clips, config.data.frames, config.data.regions)
    features_BFRV = torch.randn(*shape_BFR, config.model.feature_dim).half()
    boxes_BFRK = torch.rand(*shape_BFR, config.model.box_dim)
    video = RegionBatch(features_BFRV, boxes_BFRK, torch.ones(shape_BFR, dtype=torch.bool))
    text, many = " ".join(["a"] * min(WORD_PIECES, config.model.max_words)), config.data.questions
    questions = tuple(Asked(clip, text, "") for clip in range(clips) for _ in range(many))
    return Batch(("made up",) * clips, () if many else (text,) * clips, video, "made up", questions)


def _read(stream: RegionStream) -> tuple[list[Batch], float | None]:
    """The first batches of an epoch, and seconds a batch after the first, which opens the shards."""
    with closing(stream.epoch(0)) as epoch:
        first = next(epoch)
        began = time.perf_counter()
        rest = list(islice(epoch, _BATCHES - 1))
        each_s = (time.perf_counter() - began) / len(rest) if rest else None
    return [first, *rest], each_s
