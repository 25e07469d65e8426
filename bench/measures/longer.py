"""Where the proof's curves are not the paper's: whether that is left when pre-training takes three times as long.

Each training is that of the proof's configuration but for the number of steps, on the proof's own shards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
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

_CASES = {
    "as published": (MAIN, FULL.seen),
    "local loss alone": ("local-only", FULL.seen),
    f"{FULL.regions} regions": (f"regions-{FULL.regions}", FULL.regions),
}
"""By name: the variant of the proof, and how many regions of a frame it reads."""
_LONGER = 3


def measure(scratch: Path, rounds: int) -> dict[str, object]:
    """For the first ``rounds`` seeds of the proof, of its models and of those trained longer: text-to-video R@1 among
    the test clips, by the score and by its parts; and as a share of that of the published objective, trained as long.
    """
    seeds = FULL.seeds[:rounds]
    judged = [f"retrieval-pretrain-{variant}-{seed}" for variant, _ in _CASES.values() for seed in seeds]
    at, works = finished_proof("shards", "text-encoder", *judged)
    asked = list(product(_CASES, seeds))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        longer = dict(zip(asked, pool.map(lambda one: _trained(at, works, scratch, *one), asked), strict=True))
    proof = {(case, seed): _recalls(at.report("pretrain", _CASES[case][0], seed)) for case, seed in asked}
    return {
        f"{case}, {steps} steps": {
            **{part: [round(found[case, seed][part], 1) for seed in seeds] for part in found[case, seeds[0]]},
            "over_as_published": round(mean(found[case, s]["sum"] / found["as published", s]["sum"] for s in seeds), 2),
        }
        for steps, found in ((FULL.pretrain.steps, proof), (_LONGER * FULL.pretrain.steps, longer))
        for case in _CASES
    }


def _trained(at: Layout, works: Mapping[str, Work], scratch: Path, case: str, seed: int) -> Mapping[str, float]:
    variant, regions = _CASES[case]
    name = f"{variant}-{seed}"
    folder, report, config = scratch / name, scratch / f"{name}-report", scratch / f"{name}.yaml"
    tree = works[f"pretrain-{name}"].config or {}
    config.write_text(yaml.safe_dump(override(tree, (f"out={folder}", f"max_steps={_LONGER * FULL.pretrain.steps}"))))
    run("train", "run", str(config))
    run(
        "evaluate", "retrieval", "--model", str(folder / "model"), "--shards", str(at.shards()),
        "--manifest", str(at.manifest), "--out", str(report), "--frames", "1", "--regions", str(regions),
        "--split", "test", "--figures-only",
    )  # fmt: skip
    return _recalls(report)


def _recalls(report: Path) -> Mapping[str, float]:
    found = json.loads((report / "retrieval.json").read_bytes())
    parts = {"sum": found, "global part": found.get("global_alone"), "local part": found.get("local_alone")}
    return {name: part["text_to_video"]["figures"]["R@1"] for name, part in parts.items() if part}
