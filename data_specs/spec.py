"""DatasetSpec: what a data set is, read from ``data_specs/{name}.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from data_specs.configuration import Settings, load
from data_specs.errors import InputError, did_you_mean

_FOLDER = Path(__file__).parent

SplitName = Literal["train", "val", "test"]
Words = Annotated[str, Field(min_length=1)]


class FileSpec(Settings):
    """One annotation file: ``places`` below the root, tried in order, what it is and where it comes from."""

    places: tuple[Words, ...] = Field(min_length=1)
    what: Words
    origin: Words

    @field_validator("places")
    @classmethod
    def _below_the_root(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        for place in places:
            if place.startswith("/") or ".." in Path(place).parts:
                raise ValueError(f"{place!r} is not a path below the data set's root")
        return places


class SplitSpec(Settings):
    """A split of a protocol.

    videos:   how many there should be in the full data set (None: as many as there are).
    files:    annotation files that say which videos these are, by role.
    captions: ``all`` keeps a video's captions in the annotation file's order, ``chosen`` keeps the one query that the
              split's ``choice`` files name.
    choice:   those files; any one is enough, and those that are present must agree.
    questions: optional files whose questions are attached to this split's videos, and to no other's.
    """

    videos: int | None = Field(default=None, ge=1)
    files: tuple[Words, ...] = ()
    captions: Literal["all", "chosen"] = "all"
    choice: tuple[Words, ...] = ()
    questions: tuple[Words, ...] = ()

    @model_validator(mode="after")
    def _choice_where_chosen(self) -> SplitSpec:
        if (self.captions == "chosen") != bool(self.choice):
            raise ValueError("captions: chosen and choice: [files] come together")
        return self


class ProtocolSpec(Settings):
    """A way to score the data set. ``queries``: whether each video asks with its first caption or with all of them."""

    title: Words
    queries: Literal["first", "all"]
    splits: dict[SplitName, SplitSpec] = Field(min_length=1)
    notes: str = ""


class DatasetSpec(Settings):
    """A data set. ``format`` names the parser in ``data_specs/annotations``; ``media_paths`` are templates of ``{id}``.

    Of several media paths the first whose folder exists below the root is used. All roles that a protocol names stand
    in ``files``.
    """

    name: Words
    version: int = Field(ge=1)
    title: Words
    format: Words
    media: tuple[Literal["video", "image"], ...] = Field(min_length=1)
    media_paths: tuple[Words, ...] = Field(min_length=1)
    files: dict[str, FileSpec]
    default_protocol: Words
    protocols: dict[str, ProtocolSpec] = Field(min_length=1)
    source: Words
    licence: Words
    size: Words

    @model_validator(mode="after")
    def _names_exist(self) -> DatasetSpec:
        if self.default_protocol not in self.protocols:
            raise ValueError(
                f"default_protocol {self.default_protocol!r}: {did_you_mean(self.default_protocol, self.protocols)}"
            )
        for protocol_name, protocol in self.protocols.items():
            for split_name, split in protocol.splits.items():
                for role in (*split.files, *split.choice, *split.questions):
                    if role not in self.files:
                        where = f"protocols.{protocol_name}.splits.{split_name}"
                        raise ValueError(f"{where}: no file {role!r}: {did_you_mean(role, self.files)}")
        for template in self.media_paths:
            if "{id}" not in template:
                raise ValueError(f"media_paths: {template!r} has no {{id}}")
        return self

    def protocol(self, name: str | None = None) -> tuple[str, ProtocolSpec]:
        """The full name (``msrvtt/1k-A``) and the protocol; ``name`` with or without the data set's, None: the default.

        Raises:
            InputError: no such protocol; names the nearest.
        """
        short = self.default_protocol if name is None else name.removeprefix(f"{self.name}/")
        if short not in self.protocols:
            raise InputError(f"protocol {name!r} of {self.name} is unknown: {did_you_mean(short, self.protocols)}")
        return f"{self.name}/{short}", self.protocols[short]


def spec_names() -> list[str]:
    """Names of all data sets that have a YAML here, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_spec(name: str) -> DatasetSpec:
    """The spec of a data set by name.

    Raises:
        InputError: no such data set (the nearest names are given), or its YAML is wrong (which key).
    """
    names = spec_names()
    if name not in names:
        raise InputError(f"data set {name!r} is unknown: {did_you_mean(name, names)}")
    path = _FOLDER / f"{name}.yaml"
    spec = load(DatasetSpec, path)
    if spec.name != name:
        raise InputError(f"{path}: name {spec.name!r} must be the file's name, {name!r}")
    return spec
