"""Region shards: those that a step will make against its workers, and those that a step reads against its ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_specs.errors import InputError
from data_specs.location import AnyLocation
from data_specs.shard_index import ShardIndex, read_index
from data_specs.shards import ShardError
from extract.plan import Plan
from pipelines.doctor.annotations import Listed, Manifests
from pipelines.doctor.case import Case, Evaluation, Extraction, Training
from pipelines.doctor.finding import Finding, Level, failure, ok, warning

if TYPE_CHECKING:
    from train.config import ValidationConfig

_TITLE = "shards"
_NO_MATTER = "nothing to do; the last model is kept, as no best one is known"
_UNKNOWN = "see the failures above"


@dataclass(frozen=True)
class Supply:
    """Samples of each folder, and the shards that hold them all."""

    folders: tuple[int, ...]
    shards: int

    @property
    def samples(self) -> int:
        """Of all folders."""
        return sum(self.folders)


def check_planned(extraction: Extraction, listed: Listed) -> Iterator[Finding]:
    """The shards that an extraction will make, and whether each of its workers gets one.

    Raises:
        InputError: the manifest has no row of the split.
    """
    plan = Plan(listed.manifest, extraction.split, extraction.videos_per_shard)
    found = f"step {extraction.step!r} makes {len(plan):,} shards of {plan.num_items:,} items"
    if extraction.workers > len(plan):
        yield warning(
            _TITLE,
            f"{found}, fewer than its {extraction.workers} workers; the others have nothing to do",
            f"--set {extraction.prefix}workers={len(plan)}, or fewer videos a shard (--videos-per-shard of python -m"
            " extract run)",
        )
    else:
        yield ok(_TITLE, f"{found} on {extraction.workers or 1} workers")


def check_training(case: Case, training: Training, manifests: Manifests) -> Iterator[Finding]:
    """The shards that a training reads: there, of one provenance, as wide as the model, and enough for its ranks.

    Raises:
        ImportError: torch or webdataset cannot be imported.
    """
    broken = False
    for folder in training.config.data.shards:
        extraction = case.extraction_into(folder)
        if extraction is not None:
            settings = extraction.settings
            yield from _fits(training, folder, settings.detector.feature_dim, settings.frames, settings.regions)
            continue
        for finding in _stored(training, folder):
            broken |= finding.level is Level.FAILURE
            yield finding
    if broken:
        return
    try:
        supply = supply_of(case, training, manifests)
    except (InputError, ShardError) as error:
        yield failure(_TITLE, str(error), "look with: python -m extract verify FOLDER; make extract repairs")
        return
    if supply is None:
        yield warning(_TITLE, f"step {training.step!r}: how many samples there will be is not known", _UNKNOWN)
    else:
        yield _enough(training, supply)


def supply_of(case: Case, training: Training, manifests: Manifests) -> Supply | None:
    """What a training has to read: what earlier steps will make of it, and what the trainer itself finds.

    None where a manifest is not known. Stored shards are checked against their commit records.

    Raises:
        InputError, ShardError: a folder of shards is absent or broken.
        ImportError: torch or webdataset cannot be imported.
    """
    supplies: dict[AnyLocation, Supply] = {}
    stored: list[AnyLocation] = []
    for folder in training.config.data.shards:
        extraction = case.extraction_into(folder)
        if extraction is None:
            stored.append(folder)
            continue
        listed = manifests.of(extraction.manifest)
        if listed is None:
            return None
        supplies[folder] = _planned(training, extraction, listed)
    if stored:
        from train.reading.sources import open_sources

        for source in open_sources(training.config.data.model_copy(update={"shards": tuple(stored)})):
            supplies[source.folder] = Supply((source.samples,), len(source.shards))
    found = [supplies[folder] for folder in training.config.data.shards]
    return Supply(
        tuple(samples for supply in found for samples in supply.folders), sum(supply.shards for supply in found)
    )


def check_evaluated(case: Case, evaluation: Evaluation, manifests: Manifests) -> Iterator[Finding]:
    """What an evaluation reads: splits that the manifest has, and shards, where no step of the pipeline makes them.

    Raises:
        InputError: the shards have no index, or the manifest has no row of a split.
    """
    listed = manifests.of(evaluation.manifest)
    if listed is not None:
        for split in evaluation.splits:
            listed.manifest.rows_of(split)
    if case.extraction_into(evaluation.shards) is None:
        index = read_index(evaluation.shards)
        yield ok(_TITLE, f"{evaluation.shards}: {index.num_samples:,} samples in {len(index.shardlist):,} shards")


def check_validated(case: Case, training: Training, manifests: Manifests) -> Iterator[Finding]:
    """The splits that a training looks at while it learns: rows of the manifest, or shards that are there.

    Raises:
        InputError: a split that is not optional has none, or a folder has no index.
    """
    validation = training.config.validation
    if validation is None:
        return
    try:
        _check_splits(case, training, manifests, validation)
    except InputError as error:
        if not validation.optional:
            raise
        yield warning(_TITLE, f"step {training.step!r} will not look at held-out clips: {error.message}", _NO_MATTER)


def _check_splits(case: Case, training: Training, manifests: Manifests, validation: ValidationConfig) -> None:
    for folder in validation.shards:
        extraction = case.extraction_into(folder)
        listed = manifests.of(extraction.manifest) if extraction is not None else None
        for split in validation.splits if listed is not None else ():
            listed.manifest.rows_of(split)
        if extraction is None:
            names = {entry.url.rpartition("-")[0] for entry in read_index(folder).shardlist}
            lost = [split for split in validation.splits if split not in names]
            if lost:
                raise InputError(f"step {training.step!r}: {folder} has no shard of split {', '.join(lost)}")


def steps_of(training: Training, supply: Supply) -> int:
    """How many steps a training on these folders takes, as ``train.trainer`` counts them.

    Raises:
        ImportError: torch cannot be imported.
    """
    from train.forecast.counts import counts_of

    return counts_of(training.config, supply.folders).steps


def _planned(training: Training, extraction: Extraction, listed: Listed) -> Supply:
    """What of an extraction's plan is in the splits that are trained on."""
    splits, counts = training.config.data.splits, listed.manifest.counts()
    names = Plan(listed.manifest, extraction.split, extraction.videos_per_shard).names
    read = [name for name in names if name.rpartition("-")[0] in splits]
    return Supply((sum(counts[split] for split in {name.rpartition("-")[0] for name in read}),), len(read))


def _stored(training: Training, folder: Path) -> Iterator[Finding]:
    try:
        index: ShardIndex = read_index(folder)
    except InputError as error:
        yield failure(
            _TITLE,
            str(error),
            f"make extract makes it; other folders: --set {training.step}.data.shards=[FOLDER, ...]",
        )
        return
    made = index.provenance
    unfit = list(_fits(training, folder, made.feature_dim, made.frames, made.regions))
    yield from unfit
    if not unfit:
        yield ok(
            _TITLE,
            f"{folder}: {index.num_samples:,} samples in {len(index.shardlist):,} shards of one provenance:"
            f" {made.dataset}, detector {made.detector}, {made.frames} frames of {made.regions} regions, features"
            f" {made.feature_dim} wide",
        )


def _fits(training: Training, folder: Path, width: int, frames: int, regions: int) -> Iterator[Finding]:
    """What of a folder is not as the model and its data configuration want it."""
    config = training.config
    if width != config.model.feature_dim:
        yield failure(
            _TITLE,
            f"{folder}: features {width} wide, the model of step {training.step!r} reads {config.model.feature_dim}",
            f"--set {training.step}.model.feature_dim={width}",
        )
    for what, made, read in (("frames", frames, config.data.frames), ("regions", regions, config.data.regions)):
        if made < read:
            yield warning(
                _TITLE,
                f"{folder}: {made} {what}, step {training.step!r} wants {read}; the rest would be padding",
                f"--set {training.step}.data.{what}={made}",
            )


def _enough(training: Training, supply: Supply) -> Finding:
    """Batches are those of all ranks together; a folder that is smaller than one is a batch of its own size."""
    batch, ranks, smallest = training.config.data.batch_size, training.ranks, min(supply.folders)
    found = (
        f"step {training.step!r}: {supply.samples:,} samples in {supply.shards:,} shards, {batch:,} clips a step over"
        f" {ranks} ranks"
    )
    if batch < ranks:
        return failure(_TITLE, f"{found}: some would have none", f"--set {training.step}.data.batch_size={ranks}")
    if smallest < max(2, ranks):
        return failure(
            _TITLE, f"{found}: a folder of {smallest} is too small for that", "extract more clips, or leave it out"
        )
    if smallest < batch:
        return warning(_TITLE, f"{found}: batches of the smallest folder have its {smallest}", "extract more clips")
    if not steps_of(training, supply):
        return failure(
            _TITLE, f"{found}: an epoch is less than a batch", f"--set {training.step}.data.epoch_samples={batch}"
        )
    return ok(_TITLE, found)
