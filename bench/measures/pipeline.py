"""What a worker costs beside its detector: whole shards, from files to commit records, against the bare detector.

The detector sees the same frames both times; the bare one finds them in memory. One detector thread, one decoder.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench.measures.runs import make_manifest, prepare
from data_specs.manifest import read_manifest
from extract.frames import sample_frames
from extract.worker import Worker


def measure(scratch: Path, rounds: int, videos: int = 48, frames: int = 8) -> dict[str, float]:
    """Medians over ``rounds``, by turns: seconds of both, and the worker's over the detector's."""
    manifest = make_manifest(scratch, videos)
    settings, plan, described = prepare(manifest, scratch / "warm", frames, per_shard=16)
    worker = Worker(settings)
    detector = worker.load()
    clips = [
        sample_frames(settings.root, item, settings.sampler, settings.limits.limits()).images
        for item in read_manifest(manifest)
    ]
    detector.detect(clips[0], settings.regions)  # the first call is slow
    bare, whole = [], []
    for turn in range(rounds):
        start = time.perf_counter()
        for images in clips:
            detector.detect(images, settings.regions)
        bare.append(time.perf_counter() - start)
        worker.settings = settings.model_copy(update={"out": scratch / f"turn {turn}"})
        start = time.perf_counter()
        for shard in plan:
            worker.extract(shard, described)
        whole.append(time.perf_counter() - start)
    return {
        "videos": videos,
        "frames": frames,
        "detector_seconds": round(statistics.median(bare), 2),
        "worker_seconds": round(statistics.median(whole), 2),
        "worker_over_detector": round(statistics.median(w / b for w, b in zip(whole, bare, strict=True)), 3),
    }
