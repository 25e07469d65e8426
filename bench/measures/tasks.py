"""What a tiny model makes of 500 made clips: multiple choice after contrastive training, then open-ended questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from bench.measures.learning import made_shapes, run

_CLIPS, _FRAMES, _STEPS = 500, 4, 400
_MODEL = {"preset": "tiny", "feature_dim": 512}


def measure(scratch: Path, rounds: int) -> dict[str, Any]:
    """For each of ``rounds`` seeds: accuracies on the test clips with their intervals, beside chance and majority."""
    manifest, shards = made_shapes(scratch, _CLIPS, _FRAMES, "qa")
    return {f"seed_{seed}": _seed(scratch / str(seed), manifest, shards, seed) for seed in range(rounds)}


def _seed(folder: Path, manifest: Path, shards: Path, seed: int) -> dict[str, Any]:
    data = {"shards": [str(shards)], "frames": _FRAMES, "batch_size": 32, "seed": seed}
    finding, answering = folder / "finding", folder / "answering"
    _train(finding, {"loss": {"sharpness": 20}, "data": data}, seed)
    start, answers = {"model": str(finding / "model")}, {"answers": str(manifest)}
    _train(answering, {"start": start, "answering": answers, "data": data | {"questions": 4}}, seed)
    choice = _evaluated("multiple-choice", finding, shards, manifest)
    answer = _evaluated("question-answering", answering, shards, manifest)
    return {
        "steps": _STEPS,
        "multiple_choice": {name: choice[name] for name in ("questions", "accuracy", "accuracy_interval", "chance")},
        "question_answering": {
            name: answer[name] for name in ("questions", "accuracy", "accuracy_interval", "majority_accuracy")
        },
        "by_answer_type": {group["name"]: round(group["accuracy"], 1) for group in answer["by_answer_type"]},
    }


def _train(out: Path, changes: dict[str, Any], seed: int) -> None:
    tree = {
        "out": str(out), "model": _MODEL, "optimiser": {"lr": 1e-3, "schedule": "cosine", "warmup_steps": 20},
        "epochs": _STEPS, "max_steps": _STEPS, "device": "cpu", "threads": 2, "seed": seed,
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(tree | changes))
    run("train", "run", str(path))


def _evaluated(task: str, trained: Path, shards: Path, manifest: Path) -> dict[str, Any]:
    report = trained / "report"
    run("evaluate", task, "--model", str(trained / "model"), "--shards", str(shards), "--manifest", str(manifest),
        "--out", str(report))  # fmt: skip
    return json.loads((report / f"{task.replace('-', '_')}.json").read_text())
