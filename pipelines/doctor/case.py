"""What the steps of a pipeline will do, as their own command lines read it. Nothing is run."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import yaml

from data_specs.annotations.folder import FolderOptions
from data_specs.configuration import build, override
from data_specs.errors import InputError
from data_specs.spec import DatasetSpec, load_spec
from extract.settings import ExtractionSettings, make_settings
from pipelines.pipeline import Pipeline, Step, command_line, config_text
from train.config import TrainConfig

_MODEL = "model"  # what stage 2 leaves in its run folder


@dataclass(frozen=True)
class Building:
    """A step that writes the manifest ``out`` from the annotation files below ``root``.

    name: how the data set was named. folder: how a folder of one's own is read, None: in the usual way.
    """

    step: str
    name: str
    spec: DatasetSpec
    root: Path
    protocol: str | None
    out: Path
    folder: FolderOptions | None


@dataclass(frozen=True)
class Extraction:
    """A step that makes the shards of ``split`` (None: all) of a manifest; ``workers`` of 0 is this process.

    prefix: of the variables that are this step's where the pipeline has others of that name: ``extract_`` of workers.
    """

    step: str
    settings: ExtractionSettings
    manifest: Path
    split: str | None
    videos_per_shard: int
    workers: int
    prefix: str = ""


@dataclass(frozen=True)
class Training:
    """A step that trains on shards with so many Ray ``workers``; 0 is this process."""

    step: str
    config: TrainConfig
    resume: bool
    workers: int

    @property
    def ranks(self) -> int:
        """The processes that learn together."""
        return self.workers or 1

    @property
    def model(self) -> Path:
        """The folder that the finished model is written to."""
        return self.config.out / _MODEL


@dataclass(frozen=True)
class Evaluation:
    """A step that scores a model on the shards of some splits of a manifest. variable: the one that names the model.

    frames, regions: what it wants of each clip and frame; None: what there is.
    """

    step: str
    task: str
    variable: str
    model: Path
    shards: Path
    manifest: Path
    splits: tuple[str, ...]
    device: str
    frames: int | None
    regions: int | None


@dataclass(frozen=True)
class Case:
    """A pipeline with its values and what its steps will do.

    unread: why a step's command cannot start. left_out: why a step will not be run.
    """

    pipeline: Pipeline
    values: dict[str, Any]
    buildings: tuple[Building, ...]
    extractions: tuple[Extraction, ...]
    trainings: tuple[Training, ...]
    evaluations: tuple[Evaluation, ...]
    unread: dict[str, str]
    left_out: dict[str, str]

    @property
    def out(self) -> Path:
        return Path(str(self.values["out"]))

    @property
    def packages(self) -> set[str]:
        """The packages whose commands are run."""
        return {step.command[0] for step in self.pipeline.steps if step.name not in self.left_out}

    def extraction_into(self, folder: Path) -> Extraction | None:
        """The step of this pipeline that makes the shards of ``folder``."""
        return next((e for e in self.extractions if same(e.settings.out, folder)), None)

    def training_of(self, model: Path) -> Training | None:
        """The step of this pipeline that makes ``model``."""
        return next((t for t in self.trainings if same(t.model, model)), None)

    def without(self, reasons: Mapping[str, str]) -> Case:
        """The case with further steps left out."""
        kinds = ("buildings", "extractions", "trainings", "evaluations")
        kept = {kind: tuple(s for s in getattr(self, kind) if s.step not in reasons) for kind in kinds}
        return replace(self, left_out={**self.left_out, **reasons}, **kept)


def same(one: Path, other: Path) -> bool:
    """Whether two paths, of which neither need exist, are the same place."""
    return one.absolute().resolve() == other.absolute().resolve()


def read_case(pipeline: Pipeline, values: dict[str, Any]) -> Case:
    """Reads the command line of every step that will be run, as far as that can be said before a manifest is there.

    Raises:
        InputError: an argument, a configuration key, a data set, a protocol or a detector that does not exist.
    """
    found: dict[type, list[Any]] = {Building: [], Extraction: [], Training: [], Evaluation: []}
    unread: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for step in pipeline.steps:
        why = step.switched_off(values) or _lacking_path(step, values)
        if why is not None:
            left_out[step.name] = why
            continue
        try:
            plan = _read_step(step, values)
        except ImportError as error:
            unread[step.name] = str(error)
            continue
        if plan is not None:
            found[type(plan)].append(plan)
    return Case(
        pipeline,
        values,
        tuple(found[Building]),
        tuple(found[Extraction]),
        tuple(found[Training]),
        tuple(found[Evaluation]),
        unread,
        left_out,
    )


def _lacking_path(step: Step, values: dict[str, Any]) -> str | None:
    """The file or folder for want of which a step is left out."""
    if not step.is_automatic(values):
        return None
    paths = (need.lacking(values) for need in step.needs if need.path is not None)
    return next((lack for lack in paths if lack is not None), None)


def _read_step(step: Step, values: dict[str, Any]) -> Building | Extraction | Training | Evaluation | None:
    package, name, *arguments = command_line(step, values)
    command = importlib.import_module(f"{package}.__main__").main.commands.get(name)
    if command is None:
        raise InputError(f"step {step.name!r}: {package} has no command {name!r}")
    try:
        given = command.make_context(name, list(arguments)).params
    except click.UsageError as error:
        raise InputError(f"step {step.name!r}: {error.format_message()}") from None
    match package, name:
        case "data_specs", "build":
            return _building(step, given)
        case "extract", "run":
            return _extraction(step, given, values)
        case "train", "run":
            return _training(step, given, values)
        case "evaluate", _:
            return _evaluation(step, name, given)
    return None


def _building(step: Step, given: dict[str, Any]) -> Building:
    spec = load_spec(given["name"])
    spec.protocol(given["protocol"])
    seconds, split = given["clip_seconds"], given["split_all"]
    folder = None if seconds is None and split is None else FolderOptions(seconds, split)
    return Building(step.name, given["name"], spec, given["root"], given["protocol"], given["out"], folder)


def _extraction(step: Step, given: dict[str, Any], values: dict[str, Any]) -> Extraction:
    names = ("root", "out", "frames", "sampling", "seed", "regions", "device", "gpus_per_worker")
    settings = {name: given[name] for name in names}
    return Extraction(
        step.name,
        make_settings(given["detector"], given["assignments"], **settings),
        given["manifest"],
        given["split"],
        given["videos_per_shard"],
        given["workers"],
        "extract_" if "extract_workers" in values else "",
    )


def _training(step: Step, given: dict[str, Any], values: dict[str, Any]) -> Training:
    tree = yaml.safe_load(config_text(step, values)) if step.config is not None else {}
    config = build(TrainConfig, override(tree, given["assignments"]), f"step {step.name!r}")
    return Training(step.name, config, given["resume"], given["workers"])


def _evaluation(step: Step, task: str, given: dict[str, Any]) -> Evaluation:
    sizes = {name: given.get(name) for name in ("frames", "regions")}
    return Evaluation(
        step.name,
        task,
        "answer_model" if "{answer_model}" in step.command else "model",
        given["model_folder"],
        given["shards"],
        given["manifest"],
        tuple(given.get("splits") or ("test",)),
        given["device"],
        **sizes,
    )
