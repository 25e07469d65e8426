"""The results of `make proof` in this checkout, for what looks further into them."""

from __future__ import annotations

from bench.measures.runs import CHECKOUT
from pipelines.proof.layout import Layout
from pipelines.proof.scale import FULL


def finished_proof() -> Layout:
    """Where they lie.

    Raises:
        SystemExit: they are not there.
    """
    at = Layout(CHECKOUT / f"runs/proof-{FULL.name}")
    if not at.stamp("bag-of-objects").is_file():
        raise SystemExit(f"{at.out}: no proof with shards there; run `make proof` first")
    return at
