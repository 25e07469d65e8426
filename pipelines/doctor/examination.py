"""One examination of a pipeline: every check, in order; one that fails is a finding and stops no other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from data_specs.errors import InputError
from data_specs.failures import MediaError
from data_specs.manifest import read_manifest
from data_specs.samples import SampleError
from data_specs.shards import ShardError
from pipelines.doctor import annotations, disk, media, outputs, shards, weights
from pipelines.doctor.annotations import Listed, Manifests, same
from pipelines.doctor.case import Case, Training
from pipelines.doctor.devices import check_devices
from pipelines.doctor.finding import Finding, failure, ok, warning
from pipelines.doctor.parts import check_parts
from pipelines.doctor.sandbox import check_tool
from pipelines.doctor.speed import check_speed

# What a check may raise because of what it looks at. Anything else is an error of this code and is raised.
_EXPECTED = (InputError, MediaError, ShardError, SampleError, ImportError, OSError)
_SETUP = "make setup"
_ABOVE = "see the failures above"


def examine(case: Case, quick: bool) -> Iterator[Finding]:
    """What was found, check by check. Writes into a temporary folder only, which is gone afterwards.

    quick: without the measured sample.
    """
    with tempfile.TemporaryDirectory(prefix="regionvlp-doctor-") as folder:
        scratch = Path(folder)
        yield from _machine(case, scratch)
        listed: list[Listed] = []
        yield from _annotations(case, scratch, listed)
        manifests = Manifests(tuple(listed))
        case = case.without(annotations.not_asked(case, manifests))
        yield from (ok("steps", f"step {step!r} is left out: {why}") for step, why in case.left_out.items())
        yield from dict.fromkeys(_weights(case))  # several steps may read the same model
        yield from _outputs(case, manifests)
        yield from dict.fromkeys(_data(case, manifests))
        yield from _disk(case, manifests)
        yield from _hours(case, manifests, quick)


def _guard(title: str, way_out: str, check: Callable[..., Iterable[Finding]], *arguments: Any) -> Iterator[Finding]:
    try:
        yield from check(*arguments)
    except _EXPECTED as error:
        yield failure(title, str(error) or type(error).__name__, way_out)


def _machine(case: Case, scratch: Path) -> Iterator[Finding]:
    ray = any(step.workers for step in (*case.extractions, *case.trainings))
    yield from _guard("parts", _SETUP, check_parts, case.packages, ray)
    for step, problem in case.unread.items():
        yield failure("parts", f"step {step!r} cannot start: {problem}", _SETUP)
    if case.extractions:
        for tool in ("ffmpeg", "ffprobe"):
            yield from _guard(tool, _SETUP, check_tool, tool, scratch)
    if case.extractions or case.trainings or case.evaluations:
        yield from _guard("devices", _SETUP, check_devices, case)


def _weights(case: Case) -> Iterator[Finding]:
    for extraction in case.extractions:
        yield from _guard("detector weights", "python -m extract convert --help", weights.check_detector, extraction)
    for training in case.trainings:
        if training.config.start is None:
            yield from _guard("text encoder", _SETUP, weights.check_text_encoder, training)
        else:
            yield from _guard("start", _SETUP, weights.check_start, case, training)
    for evaluation in case.evaluations:
        yield from _guard("model", "make pretrain", weights.check_model, case, evaluation)


def _annotations(case: Case, scratch: Path, listed: list[Listed]) -> Iterator[Finding]:
    """Builds or reads every manifest that a step reads, and adds it to ``listed``."""
    for building in case.buildings:
        try:
            survey = annotations.survey(building, scratch)
        except _EXPECTED as error:
            yield failure("annotations", str(error), annotations.way_out(building))
            continue
        listed.append(Listed(building.out, survey.file, survey.built.manifest))
        yield from annotations.check_counts(survey)
    given = dict.fromkeys(step.manifest for step in (*case.extractions, *case.evaluations))
    for place in given:
        if any(same(place, building.out) for building in case.buildings):
            continue
        try:
            listed.append(Listed(place, place, read_manifest(place)))
        except _EXPECTED as error:
            yield failure("annotations", str(error), f"python -m data_specs build NAME --root DIR --out {place}")
        else:
            yield ok("annotations", f"{place}: {len(listed[-1].manifest):,} rows")


def _outputs(case: Case, manifests: Manifests) -> Iterator[Finding]:
    yield from _guard("output", "--set out=FOLDER", outputs.check_writable, case)
    if case.pipeline.fresh:
        return  # what stands there is removed first
    for extraction in case.extractions:
        listed = manifests.of(extraction.manifest)
        if listed is not None:
            yield from _guard("output", _ABOVE, outputs.check_resumed_extraction, extraction, listed)
    for training in case.trainings:
        yield from _guard("output", _SETUP, outputs.check_run_folder, training)


def _data(case: Case, manifests: Manifests) -> Iterator[Finding]:
    for extraction in case.extractions:
        listed = manifests.of(extraction.manifest)
        if listed is None:
            what = f"step {extraction.step!r} has no manifest yet: files, shards, disk and hours were not looked at"
            yield warning("media", what, _ABOVE)
            continue
        splits = "--set split=..., one that the manifest has"
        yield from _guard("media", splits, media.check_media, extraction, listed)
        yield from _guard("shards", splits, shards.check_planned, extraction, listed)
    for training in case.trainings:
        yield from _guard("shards", _SETUP, shards.check_training, case, training, manifests)
        without = f"--set {training.step}.validation=null"
        yield from _guard("shards", without, shards.check_validated, case, training, manifests)
    for evaluation in case.evaluations:
        yield from _guard("shards", "make extract makes them", shards.check_evaluated, case, evaluation, manifests)


def _disk(case: Case, manifests: Manifests) -> Iterator[Finding]:
    needs = [disk.manifest_need(m) for m in manifests.listed if m.file != m.place]
    for extraction in case.extractions:
        listed = manifests.of(extraction.manifest)
        if listed is not None:
            try:
                needs.append(disk.extraction_need(extraction, listed, case.pipeline.fresh))
            except _EXPECTED as error:
                yield warning("disk", f"step {extraction.step!r} is not counted: {error}", _ABOVE)
    for training in case.trainings:
        try:
            needs.append(disk.training_need(training, _steps(case, training, manifests)))
        except _EXPECTED as error:
            yield warning("disk", f"step {training.step!r} is not counted: {error}", _ABOVE)
    if needs:
        yield from _guard("disk", "--set out=FOLDER", disk.check_disk, needs)


def _hours(case: Case, manifests: Manifests, quick: bool) -> Iterator[Finding]:
    for extraction in case.extractions:
        listed = manifests.of(extraction.manifest)
        if listed is not None and not quick:
            yield from _guard("hours", _ABOVE, check_speed, extraction, listed)
    if quick and case.extractions:
        yield ok("hours", "the extraction is not measured with --quick")
    for training in case.trainings:
        steps = _steps(case, training, manifests)
        many = f"{steps:,} steps" if steps else "how many steps is not known yet"
        yield ok(
            "hours",
            f"step {training.step!r}: {many}; seconds a step are not predicted here, but by: python -m train estimate",
        )


def _steps(case: Case, training: Training, manifests: Manifests) -> int:
    try:
        supply = shards.supply_of(case, training, manifests)
    except _EXPECTED:
        return 0  # said where the shards are looked at
    return shards.steps_of(training, supply) if supply is not None else 0
