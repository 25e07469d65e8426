"""DatasetSpec: what a data set is, read from ``data_specs/{name}.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from data_specs.configuration import Settings, load
from data_specs.errors import InputError, did_you_mean
from data_specs.protocol import AnswerSpec, ChoiceSpec, ProtocolSpec, SplitName, SplitSpec, Words

__all__ = [
    "AnswerSpec",
    "ChoiceSpec",
    "DatasetSpec",
    "FileSpec",
    "ProtocolSpec",
    "SplitName",
    "SplitSpec",
    "load_spec",
    "spec_names",
]

_FOLDER = Path(__file__).parent
_SUFFIXES = (".yaml", ".yml")


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


class DatasetSpec(Settings):
    """A data set. ``format`` names the parser in ``data_specs/annotations``; ``media_paths`` are templates of ``{id}``.

    Of several media paths the first at which a file stands below the root is used, the first of all if none has one.
    All roles that a protocol names stand in ``files``. ``source`` (who made it), ``licence`` and ``size`` (about how
    much there is on disk) are for readers.
    """

    name: str = Field(pattern=r"^[^/\s]+$")
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
            for key, role in protocol.roles():
                if role not in self.files:
                    raise ValueError(
                        f"protocols.{protocol_name}.{key}: no file {role!r}: {did_you_mean(role, self.files)}"
                    )
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
    """The spec of a data set by name, or of one's own by the path of its ``.yaml``.

    Raises:
        InputError: no such data set (the nearest names are given), its YAML is wrong (which key), or a spec of one's
            own takes the name of another.
    """
    names = spec_names()
    if name in names:
        path = _FOLDER / f"{name}.yaml"
        spec = load(DatasetSpec, path)
        if spec.name != name:
            raise InputError(f"{path}: name {spec.name!r} must be the file's name, {name!r}")
        return spec
    if not name.endswith(_SUFFIXES):
        raise InputError(f"data set {name!r} is unknown: {did_you_mean(name, names)} (one of your own: give its .yaml)")
    spec = load(DatasetSpec, Path(name))
    if spec.name in names:
        raise InputError(f"{name}: name {spec.name!r} is taken by a data set of this program; choose another")
    return spec
