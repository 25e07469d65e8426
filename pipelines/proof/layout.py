"""Where everything of a proof lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Folders and files below ``out``."""

    out: Path

    @property
    def data(self) -> Path:
        """The made clips."""
        return self.out / "data"

    @property
    def manifest(self) -> Path:
        """Of retrieval: the first caption of a clip asks."""
        return self.out / "shapes.parquet"

    @property
    def answers(self) -> Path:
        """The manifest that has the answer vocabulary."""
        return self.out / "answers.parquet"

    @property
    def choices(self) -> Path:
        """The manifest of multiple choice."""
        return self.out / "choices.parquet"

    @property
    def text(self) -> Path:
        """The text encoder that starts with random weights."""
        return self.out / "text-encoder"

    @property
    def baselines(self) -> Path:
        """The results of oracle and bag of objects."""
        return self.out / "baselines"

    def shards(self, random: int | None = None) -> Path:
        """Of all regions; or of so many a frame, chosen at random."""
        return self.out / ("shards" if random is None else f"shards-random-{random}")

    def run(self, stage: str, variant: str, seed: int) -> Path:
        """The run folder of a training."""
        return self.out / stage / f"{variant}-{seed}"

    def report(self, stage: str, variant: str, seed: int) -> Path:
        """What the evaluations of its model write."""
        return self.out / "reports" / f"{stage}-{variant}-{seed}"

    def stamp(self, name: str) -> Path:
        """What is written when a piece of work is done."""
        return self.out / "done" / f"{name}.json"

    def log(self, name: str) -> Path:
        """What a piece of work says."""
        return self.out / "logs" / f"{name}.txt"

    def config(self, name: str) -> Path:
        """The configuration of a training."""
        return self.out / "configs" / f"{name}.yaml"
