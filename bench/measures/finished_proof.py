"""The results of `make proof` in this checkout, for what looks further into them."""

from __future__ import annotations

import os

from bench.measures.runs import CHECKOUT
from data_specs.errors import InputError
from pipelines.proof.journey import Journey
from pipelines.proof.layout import Layout
from pipelines.proof.scale import FULL
from pipelines.proof.scheduler import read_stamp
from pipelines.proof.work import Work


def finished_proof(*needed: str) -> tuple[Layout, dict[str, Work]]:
    """Where they lie, and the proof's works by name.

    Raises:
        InputError: one of the works that are ``needed`` is not done, or was done with other settings.
    """
    at = Layout(CHECKOUT / f"runs/proof-{FULL.name}")
    works = {work.name: work for work in Journey(FULL, at, len(os.sched_getaffinity(0))).works()}
    for name in needed:
        stamp = read_stamp(at, works[name])
        if stamp is None or not stamp.done or stamp.inputs != works[name].key(with_code=False):
            raise InputError(f"{at.out}: no finished {name} of the proof there; run `make proof` first")
    return at, works
