"""Time and memory of the local loss, forward and backward: ours in both forms against the naive tensor program.

R = 30 regions, 99 tokens of which 8 to 25 are real, E = 256, float32. Every run has a process of its own, which takes
its own peak; the naive program runs where memory allows, and once where it needs most of the machine.
"""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.measures.naive_loss import naive_release_loss
from bench.measures.resident import available_bytes, peak_kib, restart_peak
from train.objective.region_word import region_word_similarity
from train.objective.release_form import release_loss, release_similarity

REGIONS, TOKENS, REAL, WIDTH = 30, 99, (8, 25), 256
BATCHES = (16, 32, 64, 128, 256, 512)
NAIVE_BYTES_A_PAIR = 13.2e9 / 128**2
ONCE_BYTES = 8e9  # what needs more is run a single time
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def measure(rounds: int) -> dict[str, Any]:
    """Medians over ``rounds`` in turns: seconds by the clock and of CPU, and peaks in MiB above what the process held
    before it made the embeddings. Where others use the machine the ratio of CPU seconds on one thread is the steadier.
    """
    found: dict[str, Any] = {"sizes": f"R {REGIONS}, {TOKENS} tokens, {REAL[0]} to {REAL[1]} real, E {WIDTH}, float32"}
    found["largest_difference_of_forms"] = _largest_difference()
    for batch in BATCHES:
        needed = NAIVE_BYTES_A_PAIR * batch**2
        contestants = ["fused"]
        if batch <= 128:
            contestants.append("release")
            if needed < 0.85 * available_bytes():
                contestants.append("naive")
        runs: dict[str, list[tuple[float, ...]]] = {name: [] for name in contestants}
        for turn in range(rounds):
            for name in contestants:
                if name != "naive" or turn == 0 or needed < ONCE_BYTES:
                    runs[name].append(_in_a_process(name, batch))
        found[f"B{batch}"] = _summary(runs)
    fused = [found[f"B{batch}"]["fused_peak_mib"] for batch in (BATCHES[0], BATCHES[-1])]
    found["batch_growth"] = BATCHES[-1] / BATCHES[0]
    found["fused_memory_growth"] = round(fused[1] / fused[0], 1)
    return found


def _summary(runs: dict[str, list[tuple[float, ...]]]) -> dict[str, float]:
    medians = {name: [statistics.median(v) for v in zip(*values, strict=True)] for name, values in runs.items()}
    units = (("s", 4), ("cpu_s", 4), ("peak_mib", 1))
    result = {
        f"{name}_{unit}": round(value, digits)
        for name, values in medians.items()
        for value, (unit, digits) in zip(values, units, strict=True)
    }
    for name in ("fused", "release"):
        if name in runs and "naive" in runs:
            for what, ours, naive in zip(("time", "cpu", "memory"), medians[name], medians["naive"], strict=True):
                result[f"naive_over_{name}_{what}"] = round(naive / ours, 1)
    return result


def _in_a_process(name: str, batch: int) -> tuple[float, ...]:
    """Seconds, CPU seconds and peak MiB of one loss, forward and backward."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, name, batch, torch.get_num_threads()))
    process.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        raise RuntimeError(f"{name} at B = {batch} did not end; did it run out of memory?") from None
    finally:
        process.join()
    return found


def _run(connection: Connection, name: str, batch: int, threads: int) -> None:
    torch.set_num_threads(threads)
    loss = LOSSES[name]
    loss(*_embeddings(4)).backward()  # not counted: the first call starts threads and loads kernels
    gc.collect()
    restart_peak()
    before = peak_kib()
    inputs = _embeddings(batch)
    began, cpu_began = time.perf_counter(), time.process_time()
    loss(*inputs).backward()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    connection.send((seconds, cpu_seconds, (peak_kib() - before) / 1024))


def _embeddings(batch: int) -> Inputs:
    torch.manual_seed(0)
    regions = F.normalize(torch.randn(batch, REGIONS, WIDTH), dim=-1).requires_grad_()
    words = F.normalize(torch.randn(batch, TOKENS, WIDTH), dim=-1).requires_grad_()
    lengths = torch.randint(REAL[0], REAL[1] + 1, (batch, 1))
    return regions, torch.ones(batch, REGIONS, dtype=torch.bool), words, torch.arange(TOKENS) < lengths


def _fused_loss(*inputs: Tensor) -> Tensor:
    logits = region_word_similarity(*inputs, sharpness=1.0) / 0.05
    target = torch.arange(len(logits))
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def _lean_release_loss(*inputs: Tensor) -> Tensor:
    return release_loss(release_similarity(*inputs, focal=True))


LOSSES: dict[str, Callable[..., Tensor]] = {
    "fused": _fused_loss,
    "release": _lean_release_loss,
    "naive": naive_release_loss,
}


def _largest_difference() -> float:
    """Of the gradients of the lean and the naive release form at B = 8, relative to the largest."""
    gradients = []
    for loss in (_lean_release_loss, naive_release_loss):
        inputs = _embeddings(8)
        gradients.append(torch.autograd.grad(loss(*inputs), (inputs[0], inputs[2])))
    pairs = zip(*gradients, strict=True)
    return max(float((lean - naive).abs().max() / naive.abs().max()) for lean, naive in pairs)
