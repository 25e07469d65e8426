"""How much of a step the trainer waits for data, with the published model on made-up shards of 8 frames."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import DistilBertConfig, DistilBertModel

from bench.measures.made_shards import make_sample, write_shards
from train.config import TrainConfig
from train.networks.text_encoder import load_backbone
from train.trainer import train

_STEPS, _BATCH = 8, 16


def measure(scratch: Path, rounds: int) -> dict[str, float]:
    """Shares of the time of a run of 8 steps, the first of which hashes its shards; the largest of ``rounds``."""
    text = scratch / "text"
    DistilBertModel(DistilBertConfig()).save_pretrained(text)
    load_backbone("minilm")[1].save_pretrained(text)  # of the same vocabulary
    shards = write_shards(scratch / "shards", [make_sample(number, 8, 2048) for number in range(256)], 64)
    return {"steps": _STEPS, "batch": _BATCH, "waiting_share": max(_waiting(scratch, shards, n) for n in range(rounds))}


def _waiting(scratch: Path, shards: Path, turn: int) -> float:
    tree = {
        "out": scratch / f"run {turn}",
        "model": {"preset": "base", "text_encoder": str(scratch / "text")},
        "data": {"shards": [shards], "batch_size": _BATCH},
        "max_steps": _STEPS, "device": "cpu", "checkpoint_every": 1000, "checkpoint_minutes": None,
    }  # fmt: skip
    run = train(TrainConfig.model_validate(tree)).run
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return round(last["waiting"], 4)
