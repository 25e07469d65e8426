"""The learning curve on ``shapes``: from made clips through stage 1 to the tiny model, with held-out retrieval."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from bench.measures.runs import CHECKOUT

_CLIPS, _STEPS, _EVERY = 700, 400, 50


def measure(scratch: Path, rounds: int) -> dict[str, Any]:
    """For each of ``rounds`` seeds: mean training loss of every 50 steps, and recall at 1 among the held-out clips."""
    _, shards = made_shapes(scratch, _CLIPS, 2)
    return {f"seed_{seed}": _curve(scratch, shards, seed) for seed in range(rounds)}


def made_shapes(scratch: Path, clips: int, frames: int, protocol: str = "first-caption") -> tuple[Path, Path]:
    """The manifest and the shards of so many made clips, of which 3 of 5 train."""
    data, manifest, shards = scratch / "data", scratch / "shapes.parquet", scratch / "shards"
    run("data_specs", "make-shapes", "--videos", str(clips), "--seed", "0", "--out", str(data))
    run("data_specs", "build", "shapes", "--root", str(data), "--protocol", protocol, "--out", str(manifest))
    run("extract", "run", "--manifest", str(manifest), "--root", str(data), "--out", str(shards),
        "--frames", str(frames))  # fmt: skip
    return manifest, shards


def _curve(scratch: Path, shards: Path, seed: int) -> dict[str, Any]:
    folder, path = scratch / f"run {seed}", scratch / f"{seed}.yaml"
    tree = {
        "out": str(folder),
        "model": {"preset": "tiny", "feature_dim": 512},
        "data": {"shards": [str(shards)], "frames": 2, "batch_size": 32, "seed": seed},
        "validation": {"shards": [str(shards)], "every": _EVERY},
        "loss": {"sharpness": 20},
        "optimiser": {"lr": 1e-3, "schedule": "cosine", "warmup_steps": 20},
        "epochs": _STEPS, "max_steps": _STEPS, "device": "cpu", "threads": 2, "seed": seed,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(tree))
    run("train", "run", str(path))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    held = [line["R@1"] for line in lines if line["kind"] == "validation"]
    means = [sum(losses[at : at + _EVERY]) / _EVERY for at in range(0, _STEPS, _EVERY)]
    return {
        "steps": _STEPS,
        "loss_of_every_50_steps": [round(value, 3) for value in means],
        "held_out_R@1": [round(value, 4) for value in held],
        "last_over_first_loss": round(means[-1] / means[0], 3),
    }


def run(*command: str) -> None:
    """One of the commands, to its end.

    Raises:
        RuntimeError: it did not end well; with the end of what it said.
    """
    done = subprocess.run([sys.executable, "-m", *command], cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
