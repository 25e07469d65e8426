"""The frames of a video in one batch against one by one, and how far the results are apart.

Two detectors: ``shapes`` on 8 frames of 240 x 320, and bottom-up-attention's R101 with random weights on 4 frames at
160 pixels with 12 proposals each (at full size a frame takes a minute on one core).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from data_specs.shapes.render import render_frame
from data_specs.shapes.scene import DURATION_S, make_scene
from extract.detector import Detector
from extract.networks.bottom_up_network import BottomUpNetwork
from extract.networks.candidates import Candidates
from extract.presets import load_preset

_REGIONS = 30


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Medians over ``rounds``, by turns: seconds by the clock and of CPU, their ratios, and the largest difference.

    Where others use the machine the ratio of CPU seconds is the steadier one; on a GPU only the clock counts.
    The difference is that of features, scores and boxes before rounding, over the largest value of each.
    """
    found = {"shapes": _measured(Detector(load_preset("shapes")), _frames(8, 240), rounds)}
    with _random_bottom_up() as detector:
        found["bottom-up-r101"] = _measured(detector, _frames(4, 160), rounds)
    return found


def _measured(detector: Detector, frames: NDArray[np.uint8], rounds: int) -> dict[str, float]:
    together = detector.candidates(frames)
    alone = [found for frame in frames for found in detector.candidates(frame[None])]
    batch, single = [], []
    for _ in range(rounds):
        batch.append(_timed(lambda: detector.detect(frames, _REGIONS)))
        single.append(_timed(lambda: [detector.detect(frame[None], _REGIONS) for frame in frames]))
    batch_s, batch_cpu_s = (statistics.median(values) for values in zip(*batch, strict=True))
    single_s, single_cpu_s = (statistics.median(values) for values in zip(*single, strict=True))
    return {
        "frames": len(frames),
        "batch_s": round(batch_s, 3),
        "one_by_one_s": round(single_s, 3),
        "one_by_one_over_batch": round(single_s / batch_s, 3),
        "one_by_one_over_batch_cpu": round(single_cpu_s / batch_cpu_s, 3),
        "largest_difference": max(_difference(a, b) for a, b in zip(together, alone, strict=True)),
    }


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def _difference(one: Candidates, other: Candidates) -> float:
    """The largest of features, scores and boxes, each relative to its largest value; infinite if numbers differ."""
    pairs = ((getattr(one, name), getattr(other, name)) for name in ("features_NV", "scores_NC", "boxes"))
    return max(float((a - b).abs().max() / b.abs().max()) if a.shape == b.shape else float("inf") for a, b in pairs)


def _frames(count: int, height: int) -> NDArray[np.uint8]:
    """Frames of one scene of ``shapes``, resized to ``height``."""
    scene = make_scene(0, "test", 0)
    drawn = [render_frame(scene, DURATION_S * (at + 0.5) / count).image for at in range(count)]
    tensor = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float()
    width = round(tensor.shape[3] * height / tensor.shape[2])
    resized = torch.nn.functional.interpolate(tensor, (height, width), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


@contextmanager
def _random_bottom_up() -> Iterator[Detector]:
    preset = load_preset("bottom-up-r101")
    small = preset.bottom_up.model_copy(update={"shorter_side": 160, "longer_side": 288, "proposals": 12})
    torch.manual_seed(0)
    network = BottomUpNetwork(small)
    torch.nn.init.normal_(network.proposal_generator.rpn_head.anchor_deltas.weight, std=0.001)
    with tempfile.TemporaryDirectory(prefix="bench-batching-") as folder:
        weights = Path(folder, "random.safetensors")
        save_file(network.state_dict(), weights)
        yield Detector(preset.model_copy(update={"bottom_up": small, "weights": str(weights)}))
