"""The local scores of many videos with many sentences against the bare matrix product of the same sizes.

Letters: B videos, U sentences, N regions a video, L words a sentence, E joint width; W words and T regions of all of
them, w and t of a tile. 8 frames of 30 regions, E = 256, float32; all regions are real.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.measures.resident import peak_kib, restart_peak
from evaluate.embed import TextTable, VideoTable
from evaluate.similarity import score_matrix
from train.config import LossConfig

REGIONS, LONGEST, WIDTH = 8 * 30, 30, 256
LOSS = LossConfig(global_weight=0.0)
TILES = ((720, 720), (1920, 7680))  # w and t of the bare product: as large as ours are at most, and in one's own cache
CHECKED = 12


def measure(videos: int, sentences: int, shortest: int, rounds: int) -> dict[str, Any]:
    """Medians over ``rounds`` by turns, in a process of its own: seconds by the clock and of CPU of our scores and of
    the product alone (the fastest tiles), their ratios, the peak in MiB above what the process held with its inputs,
    and the largest difference from the formula in float64. Sentences have ``shortest`` to 30 words.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_run, videos, sentences, shortest, rounds, torch.get_num_threads()).result()


@torch.inference_mode()
def _run(B: int, U: int, shortest: int, rounds: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    videos, texts = _tables(B, U, shortest)
    words_WE, regions_TE = torch.cat(texts.words), videos.regions_BNE.flatten(0, 1)
    score_matrix(*_tables(2, 2, shortest), LOSS)  # not counted: the first call starts threads and loads kernels
    restart_peak()
    before = peak_kib()
    found = score_matrix(videos, texts, LOSS)
    peak_mib = (peak_kib() - before) / 1024
    work: dict[str, Callable[[], object]] = {"ours": lambda: score_matrix(videos, texts, LOSS)}
    work |= {f"product {tile}": lambda tile=tile: _product(words_WE, regions_TE, *tile) for tile in TILES}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            clock, processor = time.perf_counter(), time.process_time()
            run()
            taken[name].append((time.perf_counter() - clock, time.process_time() - processor))
    medians = {name: [statistics.median(kind) for kind in zip(*turns, strict=True)] for name, turns in taken.items()}
    ours = medians.pop("ours")
    product = [min(kind) for kind in zip(*medians.values(), strict=True)]
    return {
        "sizes": f"{B} videos of {REGIONS} regions, {U} sentences of {shortest} to {LONGEST} words, E {WIDTH}, float32",
        "threads": threads,
        "ours_s": round(ours[0], 3),
        "product_s": round(product[0], 3),
        "ours_over_product": round(ours[0] / product[0], 3),
        "ours_over_product_cpu": round(ours[1] / product[1], 3),
        "product_gflop_a_second": round(2e-9 * len(words_WE) * len(regions_TE) * WIDTH / product[0]),
        "peak_mib": round(peak_mib, 1),
        "largest_difference": _largest_difference(videos, texts, found.combined_UB),
    }


def _tables(B: int, U: int, shortest: int) -> tuple[VideoTable, TextTable]:
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, WIDTH, generator=generator), dim=-1)

    lengths = torch.randint(shortest, LONGEST + 1, (U,), generator=generator).tolist()
    texts = TextTable(np.arange(U), unit(U), unit(sum(lengths)).split(lengths), ())
    mask_BN = torch.ones(B, REGIONS, dtype=torch.bool)
    return VideoTable(tuple(map(str, range(B))), unit(B), unit(B, REGIONS), mask_BN, ()), texts


def _product(words_WE: Tensor, regions_TE: Tensor, w: int, t: int) -> None:
    """All scores, each tile over the one before."""
    memory = torch.empty(w * t)
    for words_wE in words_WE.split(w):
        for regions_tE in regions_TE.split(t):
            shape = len(words_wE), len(regions_tE)
            torch.mm(words_wE, regions_tE.T, out=memory[: shape[0] * shape[1]].view(shape))


def _largest_difference(videos: VideoTable, texts: TextTable, found_UB: Tensor) -> float:
    """Of some sentences with some videos, from first to last."""
    differences = []
    for b in np.linspace(0, len(videos.ids) - 1, CHECKED, dtype=int):
        for u in np.linspace(0, len(texts.words) - 1, CHECKED, dtype=int):
            scores_NL = videos.regions_BNE[b].double() @ texts.words[u].double().T
            exact = (torch.softmax(LOSS.sharpness * scores_NL, 1) * scores_NL).sum(1).mean()
            differences.append(abs(float(exact - found_UB[u, b])))
    return max(differences)
