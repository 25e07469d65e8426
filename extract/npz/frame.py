"""One frame's regions from an npz file of bottom-up-attention.pytorch, with every size looked at before it is read.

Letters: N boxes in the file, V feature width. The file holds ``x`` [N, V], ``bbox`` [N, 4] (pixel corners), and
``info``, a pickled mapping with ``objects_conf`` [N], ``objects_id`` [N], perhaps ``attrs_conf`` and ``attrs_id``, and
``image_h``, ``image_w``, which may also stand beside it.
"""

from __future__ import annotations

import io
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from data_specs.failures import MediaError, Reason
from data_specs.media import opened
from data_specs.samples import MAX_SIDE, MAX_WIDTH
from extract.array_pickle import ArrayPickleError, read_array_pickle

MAX_FILE_BYTES = 256 << 20
MAX_MEMBER_BYTES = 64 << 20
MAX_INFO_BYTES = 4 << 20
MAX_BOXES = 4096
_MAX_RATIO, _RATIO_ABOVE = 100, 1 << 20
_MAX_MEMBERS = 64
_MAX_HEADER = 4096
_OUTSIDE_PIXELS = 1.0  # corners are clipped to the size, or to the size minus 1, and rounded
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, eq=False)
class NpzFrame:
    """features: float32 [N, V]. corners: float64 [N, 4] pixels, inside the image. size: (height, width).

    confidence: float32 [N] in [0, 1]. classes, attributes: int64 [N], as the file has them. Most confident first;
    equal ones in the file's order. attributes and attribute_confidence may be None.
    """

    features: NDArray[np.float32]
    corners: NDArray[np.float64]
    size: tuple[int, int]
    confidence: NDArray[np.float32]
    classes: NDArray[np.int64]
    attributes: NDArray[np.int64] | None
    attribute_confidence: NDArray[np.float32] | None


def read_npz_frame(path: Path) -> NpzFrame:
    """Reads one file; nothing in it can run.

    Raises:
        MediaError: ``missing``, ``empty``, ``not_media`` (no zip), ``truncated``, ``too_large`` (a bomb),
            ``unsupported_format`` (not this layout, or a pickle of more than arrays) or ``decode_error`` (wrong shapes,
            values that are not finite, boxes outside the image).
    """
    with opened(path) as descriptor:
        if os.fstat(descriptor).st_size > MAX_FILE_BYTES:
            raise MediaError(Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES} bytes")
        with open(descriptor, "rb", closefd=False) as stream:
            starts_as_zip = stream.read(2) == b"PK"
            try:
                archive = zipfile.ZipFile(stream)
            except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
                reason = Reason.TRUNCATED if starts_as_zip else Reason.NOT_MEDIA  # the directory is at the end
                raise MediaError(reason, f"not a whole npz file: {error}") from None
            with archive:
                return _frame(_members(archive))


def _members(archive: zipfile.ZipFile) -> dict[str, Any]:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(entries) > _MAX_MEMBERS or len(set(names)) < len(names):
        raise MediaError(Reason.UNSUPPORTED_FORMAT, f"{len(entries)} members, or two of one name")
    found = {}
    for entry in entries:
        name = entry.filename.removesuffix(".npy")
        if name in ("x", "bbox", "image_h", "image_w", "info"):
            found[name] = _array(name, _bytes(archive, entry, MAX_INFO_BYTES if name == "info" else MAX_MEMBER_BYTES))
    if missing := {"x", "bbox", "info"} - found.keys():
        raise MediaError(Reason.UNSUPPORTED_FORMAT, f"holds no {', '.join(sorted(missing))}")
    return found


def _bytes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    if entry.compress_type not in _COMPRESSIONS or entry.flag_bits & 1:
        raise MediaError(Reason.UNSUPPORTED_FORMAT, f"{entry.filename}: encrypted or of another compression")
    if entry.file_size > most:
        raise MediaError(Reason.TOO_LARGE, f"{entry.filename}: {entry.file_size} bytes, at most {most} are read")
    if entry.file_size > max(_RATIO_ABOVE, _MAX_RATIO * entry.compress_size):
        raise MediaError(Reason.TOO_LARGE, f"{entry.filename}: unfolds to more than {_MAX_RATIO} times its bytes")
    try:
        with archive.open(entry) as stream:
            data = stream.read(entry.file_size + 1)  # never more than the checked size is unfolded
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OSError,
    ) as error:
        raise MediaError(Reason.DECODE_ERROR, f"{entry.filename}: {error}") from None
    if len(data) != entry.file_size:
        raise MediaError(Reason.DECODE_ERROR, f"{entry.filename}: not the {entry.file_size} bytes it says it has")
    return data


def _array(name: str, data: bytes) -> Any:
    """An array, or what the pickle of an array of one object holds."""
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_columns, dtype = read(stream, max_header_size=_MAX_HEADER)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise MediaError(Reason.DECODE_ERROR, f"{name}: not an array: {error}") from None
    rest = data[stream.tell() :]
    if dtype.hasobject and name == "info":
        try:
            return read_array_pickle(rest)
        except ArrayPickleError as error:
            raise MediaError(Reason.UNSUPPORTED_FORMAT, f"{name}: {error}") from None
    size = 1
    for length in shape:
        size *= length
    if dtype.kind not in "fiub" or min(shape, default=0) < 0 or size * dtype.itemsize != len(rest):
        raise MediaError(Reason.DECODE_ERROR, f"{name}: {len(rest)} bytes are no {dtype} {list(shape)}")
    try:
        return np.frombuffer(rest, dtype, size).reshape(shape, order="F" if by_columns else "C")
    except (ValueError, TypeError, OverflowError) as error:
        raise MediaError(Reason.DECODE_ERROR, f"{name}: no such shape: {error}") from None


def _frame(found: dict[str, Any]) -> NpzFrame:
    info = found["info"]
    if not isinstance(info, Mapping) or not {"objects_conf", "objects_id"} <= info.keys():
        raise MediaError(Reason.UNSUPPORTED_FORMAT, "info holds no objects_conf and objects_id to choose regions by")
    features = found["x"]
    if features.ndim != 2 or len(features) > MAX_BOXES or not 1 <= features.shape[1] <= MAX_WIDTH:
        raise MediaError(Reason.DECODE_ERROR, f"x: shape {list(features.shape)} is not [N, V] within bounds")
    count = len(features)
    size = _side(found, info, "image_h"), _side(found, info, "image_w")
    confidence = _column(info, "objects_conf", count, "f", np.float32)
    if ((confidence < 0) | (confidence > 1)).any():
        raise MediaError(Reason.DECODE_ERROR, "objects_conf: outside [0, 1]")
    order = np.argsort(-confidence, kind="stable")
    has_attributes = {"attrs_id", "attrs_conf"} <= info.keys()
    attributes = _column(info, "attrs_id", count, "iu", np.int64)[order] if has_attributes else None
    sure = _column(info, "attrs_conf", count, "f", np.float32)[order] if has_attributes else None
    if sure is not None and ((sure < 0) | (sure > 1)).any():
        raise MediaError(Reason.DECODE_ERROR, "attrs_conf: outside [0, 1]")
    return NpzFrame(
        features=_finite("x", features, np.float32)[order],
        corners=_corners(found["bbox"], count, size)[order],
        size=size,
        confidence=confidence[order],
        classes=_column(info, "objects_id", count, "iu", np.int64)[order],
        attributes=attributes,
        attribute_confidence=sure,
    )


def _corners(boxes: NDArray, count: int, size: tuple[int, int]) -> NDArray[np.float64]:
    if boxes.shape != (count, 4):
        raise MediaError(Reason.DECODE_ERROR, f"bbox: shape {list(boxes.shape)}, expected {[count, 4]}")
    corners = _finite("bbox", boxes, np.float64)
    height, width = size
    most = np.array([width, height, width, height], np.float64)
    if (corners < -_OUTSIDE_PIXELS).any() or (corners > most + _OUTSIDE_PIXELS).any():
        raise MediaError(Reason.DECODE_ERROR, f"bbox: outside the image of {width}x{height}")
    if (corners[:, 2:] < corners[:, :2]).any():
        raise MediaError(Reason.DECODE_ERROR, "bbox: x2 < x1 or y2 < y1")
    return np.clip(corners, 0, most)


def _column(info: Mapping, name: str, count: int, kinds: str, dtype: type) -> NDArray:
    values = info[name]
    if not isinstance(values, np.ndarray) or values.dtype.kind not in kinds or values.shape != (count,):
        shape = list(values.shape) if isinstance(values, np.ndarray) else type(values).__name__
        raise MediaError(Reason.DECODE_ERROR, f"{name}: {shape}, expected an array {[count]}")
    return _finite(name, values, dtype)


def _finite(name: str, values: NDArray, dtype: type) -> NDArray:
    with np.errstate(over="ignore"):
        converted = np.asarray(values, dtype)
    if not np.isfinite(converted).all():
        raise MediaError(Reason.DECODE_ERROR, f"{name}: holds values that are not finite")
    return converted


def _side(found: dict[str, Any], info: Mapping, name: str) -> int:
    value = found.get(name, info.get(name))
    value = value.reshape(-1)[0] if isinstance(value, np.ndarray) and value.size == 1 else value
    if not isinstance(value, (int, np.integer)) or not 1 <= value <= MAX_SIDE:
        raise MediaError(Reason.DECODE_ERROR, f"{name}: no number of pixels from 1 to {MAX_SIDE}")
    return int(value)
