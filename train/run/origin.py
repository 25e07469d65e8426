"""Where a run's model comes from: what its folder tells people and programs."""

from __future__ import annotations

from train.config import TrainConfig
from train.history import Learnt, LearntFrom
from train.reading.sources import Source
from train.stream import RegionStream
from train.tasks.task import Task


def facts_of(config: TrainConfig, stream: RegionStream, steps: int) -> dict[str, object]:
    """What the card says of a model after so many steps."""
    found: dict[str, object] = {
        "data": ", ".join(str(folder) for folder in config.data.shards),
        "frames and regions drawn": f"{config.data.frames} x {config.data.regions}",
        "steps": f"{steps} of {stream.batch_size} clips",
        "optimiser": f"AdamW, learning rate {config.optimiser.lr:g}, {config.optimiser.schedule}",
        "precision": config.precision,
        "started from": config.start.model
        if config.start is not None
        else f"text encoder {config.model.text_encoder}, ViT {config.model.vit_weights or 'of random weights'}",
    }
    if config.answering is not None:
        found["questions"] = f"{config.data.questions} of each clip at a time; answers of {config.answering.answers}"
    return found


def learnt_in(config: TrainConfig, task: Task, stream: RegionStream, steps: int) -> Learnt:
    """What the run adds to a model's history by so many steps."""
    return Learnt(
        objective=task.objective,
        sources=tuple(_learnt_from(source) for source in stream.sources),
        frames=config.data.frames,
        regions=config.data.regions,
        steps=steps,
        batch_size=stream.batch_size,
    )


def _learnt_from(source: Source) -> LearntFrom:
    made = source.provenance
    name, *rest = made.dataset.split("/")  # name/protocol, where the protocol may begin with the name again
    protocol = rest[-1] if rest else ""
    return LearntFrom(dataset=name, protocol=protocol, manifest_sha256=made.manifest_sha256, splits=source.splits)
