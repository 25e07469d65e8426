"""Global loss, local loss and both: pre-trained as in the proof, three times as long, and with the global one weaker.

Each training is that of the proof's configuration but for what is named, on the proof's own shards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import yaml

from bench.measures.finished_proof import finished_proof
from bench.measures.learning import run
from data_specs.configuration import override
from pipelines.proof.experiments import MAIN
from pipelines.proof.layout import Layout
from pipelines.proof.scale import FULL
from pipelines.proof.work import Work

_LOCAL = "local alone"
_CASES = {
    "global alone": ("global-only", ()),
    _LOCAL: ("local-only", ()),
    "both": (MAIN, ()),
    "both, the global one at a quarter": (MAIN, ("loss.global_weight=0.25",)),
}
_LONGER = (1, 3)


@dataclass(frozen=True)
class Training:
    """A case that is trained ``longer`` times as long as in the proof."""

    case: str
    longer: int
    seed: int


def measure(scratch: Path, rounds: int) -> dict[str, dict[str, object]]:
    """For ``rounds`` seeds: text-to-video R@1 among the test clips by the score and, of both, by its parts; and how
    much of the local loss alone that is, which was trained as long with the same seed."""
    at, works = finished_proof()
    asked = [Training(case, longer, seed) for longer in _LONGER for case in _CASES for seed in range(rounds)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        recalls = dict(zip(asked, pool.map(lambda one: _recalls(at, works, scratch, one), asked), strict=True))
    found: dict[str, dict[str, object]] = {}
    for longer in _LONGER:
        for case in _CASES:
            of_seeds = [recalls[Training(case, longer, seed)] for seed in range(rounds)]
            local = [recalls[Training(_LOCAL, longer, seed)]["score"] for seed in range(rounds)]
            found[f"{case}, {longer * FULL.pretrain.steps} steps"] = {
                **{part: [round(one[part], 1) for one in of_seeds] for part in of_seeds[0]},
                "over_local_alone": round(mean(a["score"] / b for a, b in zip(of_seeds, local, strict=True)), 2),
            }
    return found


def _recalls(at: Layout, works: Mapping[str, Work], scratch: Path, asked: Training) -> Mapping[str, float]:
    variant, changes = _CASES[asked.case]
    name = f"{'-'.join(asked.case.replace(',', '').split())}-{asked.longer}-{asked.seed}"
    folder, report, config = scratch / name, scratch / f"{name}-report", scratch / f"{name}.yaml"
    sets = (
        f"out={folder}", f"seed={asked.seed}", f"data.seed={asked.seed}",
        f"max_steps={asked.longer * FULL.pretrain.steps}", *changes,
    )  # fmt: skip
    tree = works[f"pretrain-{variant}-{FULL.seeds[0]}"].config or {}
    config.write_text(yaml.safe_dump(override(tree, sets)))
    run("train", "run", str(config))
    run(
        "evaluate", "retrieval", "--model", str(folder / "model"), "--shards", str(at.shards()),
        "--manifest", str(at.manifest), "--out", str(report), "--frames", "1", "--regions", str(FULL.seen),
        "--split", "test", "--figures-only",
    )  # fmt: skip
    found = json.loads((report / "retrieval.json").read_bytes())
    parts = {"score": found, "global part": found.get("global_alone"), "local part": found.get("local_alone")}
    return {name: part["text_to_video"]["figures"]["R@1"] for name, part in parts.items() if part}
