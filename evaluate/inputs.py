"""What is evaluated on what: a model, a folder of shards, and the manifest that says what must be there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from data_specs.errors import InputError
from data_specs.manifest import Manifest, read_manifest
from data_specs.shards import file_sha256
from evaluate.options import EvaluationOptions
from evaluate.protocol import Plan, PlanT, refusal, splits_alike, without, write_missing
from evaluate.result import SEED
from evaluate.setting import WORDS, Setting, setting_of
from evaluate.stored import StoredShards, read_stored
from train.config import ModelConfig
from train.history import HISTORY_NAME, Learnt, read_history

ModelT = TypeVar("ModelT")


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything that a result depends on, with its hashes. history: the runs that made the model."""

    model_folder: Path
    model_sha256: str
    history: tuple[Learnt, ...]
    stored: StoredShards
    manifest: Manifest
    manifest_sha256: str
    manifest_path: Path

    def load(self, read: Callable[[Path], ModelT]) -> ModelT:
        """The model, as ``read`` makes it of the very files that were hashed.

        Raises:
            InputError: they are others by now, or ``read`` refuses them.
        """
        model = read(self.model_folder)
        if model_hash(self.model_folder) != self.model_sha256:
            raise InputError(f"{self.model_folder}: the model changed while it was read; run it again")
        return model

    def settle(self, plan: PlanT, out: Path, options: EvaluationOptions, writes: bool = True) -> PlanT:
        """The plan as it can be run: itself when nothing is missing, else a refusal, or the rest where that is allowed.

        ``writes`` is for one rank alone: it writes the list of what is missing, or removes an old one.

        Raises:
            MissingItemsError: something is missing and that is not allowed; the list is in ``out``.
            InputError: nothing is left, or the setting is given otherwise than the model's history has it.
        """
        self._setting(plan, options)
        listed = out / plan.missing_name
        absent = frozenset(plan.ids) - self.stored.shard_of.keys()
        if writes and absent:
            write_missing(listed, plan, absent, self.stored.failures)
        elif writes:
            listed.unlink(missing_ok=True)
        if not absent:
            return plan
        if not options.allow_missing:
            raise refusal(plan, absent, listed)
        return without(plan, absent)

    def sizes(self, config: ModelConfig, options: EvaluationOptions) -> tuple[int, int]:
        """F and R: as many as asked, else as many as both model and shards have.

        Raises:
            InputError: more are asked for, or the shards' features are not what the model reads.
        """
        made = self.stored.provenance
        if made.feature_dim != config.feature_dim:
            raise InputError(
                f"the shards' features are {made.feature_dim} wide (detector {made.detector}), the model reads"
                f" {config.feature_dim}: extract with the detector that the model was trained on"
            )
        sizes = []
        for name in ("frames", "regions"):
            asked, most = getattr(options, name), getattr(config, name)
            if asked is not None and asked > most:
                raise InputError(f"--{name} {asked}: the model was made for at most {most}")
            if asked is not None and asked > getattr(made, name):
                raise InputError(f"--{name} {asked}: the shards hold {getattr(made, name)}")
            sizes.append(asked or min(most, getattr(made, name)))
        return sizes[0], sizes[1]

    def facts(self, planned: Plan, plan: Plan, frames: int, regions: int, options: EvaluationOptions) -> dict[str, Any]:
        """The fields that every ``Evaluation`` has, but for ``score``."""
        missing = len(planned.items) - len(plan.items)
        return {
            "protocol": plan.name,
            "splits": plan.splits,
            "setting": self._setting(plan, options),
            "videos": len(plan.items),
            "videos_planned": len(planned.items),
            "missing": missing,
            "missing_list": plan.missing_name if missing else None,
            "frames": frames,
            "regions": regions,
            "bootstrap": {"resamples": options.resamples, "seed": SEED},
            "model_sha256": self.model_sha256,
            "manifest_sha256": self.manifest_sha256,
            "shards": self.stored.provenance,
            "history": self.history,
            "note": options.note,
        }

    def _setting(self, plan: Plan, options: EvaluationOptions) -> Setting:
        """As the model's history says; as the user says where that leaves it open."""
        info = self.manifest.info
        protocol = info.protocol.rpartition("/")[2]
        known = setting_of(self.history, info.dataset, plan.splits, protocol, splits_alike(info.dataset, protocol))
        if options.setting in (None, known):
            return known
        if known not in ("unknown", "other-protocol"):
            raise InputError(f"--setting {options.setting}: {WORDS[known]}, by its {HISTORY_NAME}; leave --setting out")
        return options.setting


def open_inputs(model_folder: Path, shards: Path, manifest: Path) -> Inputs:
    """Reads manifest, commit records and tar headers, and hashes the model's files.

    Raises:
        InputError: one of the three is not what it should be.
    """
    return Inputs(
        model_folder,
        model_hash(model_folder),
        read_history(model_folder),
        read_stored(shards),
        read_manifest(manifest),
        file_sha256(manifest),
        manifest,
    )


def model_hash(folder: Path) -> str:
    """SHA-256 over names and contents of a model folder's files.

    Raises:
        InputError: one of them cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\n".encode())
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()
