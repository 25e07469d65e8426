"""One sample of a region shard: encode to two tar members, decode with every bound checked first."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, FiniteFloat, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from data_specs.errors import brief
from data_specs.keys import encode_key
from data_specs.manifest import Question
from data_specs.regions import Regions, RegionsError
from data_specs.tensor_layout import LayoutError, declared_shape, parse_header

REGIONS_SUFFIX = "regions.safetensors"
METADATA_SUFFIX = "json"
MAX_MEMBER_BYTES = 1 << 30
MAX_METADATA_BYTES = 4 << 20  # of the worst JSON, pydantic's errors take 1 GB
MAX_FRAMES, MAX_REGIONS, MAX_WIDTH = 4096, 1024, 65536
MAX_SIDE = 1 << 16
PixelCount = Annotated[int, Field(ge=1, le=MAX_SIDE)]
_METADATA_FIELDS = ("id", "captions", "questions", "split", "media", "timestamps", "frame_size")
_FIELDS = tuple(Regions.__dataclass_fields__)


class ShardError(ValueError):
    """A shard or a folder of shards breaks the contract; the message names the file."""


class SampleError(ValueError):
    """A sample breaks the contract. Names shard (when known), key and field."""

    def __init__(self, key: str, field: str, problem: str, shard: str = "") -> None:
        self.key, self.field, self.problem = key, brief(field), brief(problem)
        super().__init__(f"{shard + ': ' if shard else ''}sample {brief(key)}: {self.field}: {self.problem}")

    def inside(self, shard: str) -> SampleError:
        """The same error, naming the shard."""
        return SampleError(self.key, self.field, self.problem, shard)


@dataclass(frozen=True, eq=False)
class Sample:
    """Regions of one clip and what is known of it.

    timestamps: seconds, one a frame. frame_size: (height, width) in pixels of the decoded frames.
    """

    id: str
    split: str
    media: str
    captions: tuple[str, ...]
    questions: tuple[Question, ...]
    timestamps: tuple[float, ...]
    frame_size: tuple[int, int]
    regions: Regions

    @property
    def key(self) -> str:
        return encode_key(self.id)


def encode_sample(sample: Sample) -> dict[str, bytes]:
    """The two members of a sample, member name to bytes; equal samples give equal bytes.

    Raises:
        SampleError: more captions and questions than are read back.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in sample.regions.arrays().items()}
    metadata = {name: getattr(sample, name) for name in _METADATA_FIELDS}
    metadata["questions"] = [asdict(question) for question in sample.questions]
    text = json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    encoded = text.encode("utf-8")
    if len(encoded) > MAX_METADATA_BYTES:
        told = f"{len(sample.captions)} captions and {len(sample.questions)} questions"
        problem = f"{told} are {len(encoded)} bytes, at most {MAX_METADATA_BYTES} are read back; give it fewer"
        raise SampleError(sample.key, METADATA_SUFFIX, problem)
    return {
        f"{sample.key}.{REGIONS_SUFFIX}": save_safetensors(arrays),
        f"{sample.key}.{METADATA_SUFFIX}": encoded,
    }


def decode_sample(key: str, regions: bytes, metadata: bytes) -> Sample:
    """Reads a sample back.

    Raises:
        SampleError: a field is missing, foreign, of another type or shape, or out of range.
    """
    described = decode_metadata(key, metadata)
    arrays = _arrays(key, regions)
    try:
        found = Regions(**arrays)
    except RegionsError as error:
        raise SampleError(key, error.field, str(error)) from None
    check_described(key, described, found.features.shape[0])
    return Sample(**described, regions=found)


def check_described(key: str, described: dict[str, Any], frames: int) -> None:
    """Whether what the metadata says belongs to this key and to so many frames.

    Raises:
        SampleError: it does not.
    """
    if encode_key(described["id"]) != key:
        raise SampleError(key, "id", f"{described['id']!r} belongs to another key")
    if len(described["timestamps"]) != frames:
        raise SampleError(key, "timestamps", f"{len(described['timestamps'])} of them for {frames} frames")


def check_features_shape(key: str, shape: tuple[int, ...]) -> None:
    """Whether a declared shape is [F, R, V] within bounds.

    Raises:
        SampleError: it is not.
    """
    if len(shape) != 3 or any(n > bound for n, bound in zip(shape, (MAX_FRAMES, MAX_REGIONS, MAX_WIDTH), strict=True)):
        raise SampleError(key, "features", f"shape {list(shape)} is not [F, R, V] within bounds")


def check_tensor_names(key: str, names: Collection[str]) -> None:
    """Whether these are the tensors of a sample.

    Raises:
        SampleError: one is foreign, or one is missing.
    """
    foreign, required = set(names) - set(_FIELDS), {"features", "boxes", "scores", "labels", "count"}
    if foreign or required - set(names):
        raise SampleError(key, REGIONS_SUFFIX, f"tensors {sorted(names)}, expected {sorted(required)}")


# Without FailFast each of a million wrong items is an error object of its own, kilobytes large.
_Texts = Annotated[tuple[str, ...], FailFast()]


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    question: str
    answer: str
    answer_type: str
    options: _Texts
    label: int = Field(ge=-1)
    key: str

    @model_validator(mode="after")
    def _label_is_an_option(self) -> _Question:
        if self.options and self.label >= len(self.options):
            raise ValueError(f"label {self.label} of {len(self.options)} options")
        return self


class _Metadata(BaseModel):
    """The JSON member, type for type: what others wrote is not taken on trust."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: str = Field(min_length=1)
    captions: _Texts
    questions: Annotated[tuple[_Question, ...], FailFast()]
    split: Literal["train", "val", "test"]
    media: Literal["video", "image"]
    timestamps: Annotated[tuple[FiniteFloat, ...], FailFast()]
    frame_size: tuple[PixelCount, PixelCount]


def decode_metadata(key: str, raw: bytes) -> dict[str, Any]:
    """The JSON member's fields, by name, as ``Sample`` takes them.

    Raises:
        SampleError: a field is missing, foreign, of another type or out of range.
    """
    if len(raw) > MAX_METADATA_BYTES:
        raise SampleError(key, METADATA_SUFFIX, f"{len(raw)} bytes, at most {MAX_METADATA_BYTES} are read")
    try:
        found = _Metadata.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or METADATA_SUFFIX
        raise SampleError(key, where, first["msg"]) from None
    questions = tuple(Question(**question.model_dump()) for question in found.questions)
    return {name: getattr(found, name) for name in _METADATA_FIELDS} | {"questions": questions}


def _arrays(key: str, raw: bytes) -> dict[str, NDArray]:
    if len(raw) > MAX_MEMBER_BYTES:
        raise SampleError(key, REGIONS_SUFFIX, f"{len(raw)} bytes, at most {MAX_MEMBER_BYTES} are read")
    try:
        check_features_shape(key, declared_shape(parse_header(raw), "features"))
    except LayoutError as error:
        raise SampleError(key, REGIONS_SUFFIX, str(error)) from None
    try:
        arrays = load_safetensors(raw)
    except (SafetensorError, KeyError, ValueError) as error:
        raise SampleError(key, REGIONS_SUFFIX, f"not safetensors: {error}") from None
    check_tensor_names(key, arrays)
    return arrays
