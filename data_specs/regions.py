"""Regions of a clip's frames, and the one place where box and size order are defined.

Letters: F frames, R regions a frame, V feature width.
Order: sizes are ``(height, width)``; corner boxes are ``x1, y1, x2, y2`` in pixels; stored boxes are
``x1, y1, x2, y2, w, h, w*h`` as fractions of the frame's width and height, all in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

BOX_CONVENTION = "x1,y1,x2,y2,w,h,area; fractions of width and height"
BOX_DIM = 7
_BOX_TOLERANCE = 1e-4
_DTYPES = {
    "features": np.float16,
    "boxes": np.float32,
    "scores": np.float32,
    "labels": np.int32,
    "count": np.int32,
    "attribute_labels": np.int32,
    "attribute_scores": np.float32,
}


class RegionsError(ValueError):
    """A field of ``Regions`` breaks the contract; ``field`` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of the F frames of one clip, most confident first. Validated on construction.

    features: float16 [F, R, V], pooled RoI features.
    boxes:    float32 [F, R, 7], see the module's first lines.
    scores:   float32 [F, R], detection confidence in [0, 1], falling along R.
    labels:   int32 [F, R], detector class, -1 where none.
    count:    int32 [F], real regions a frame; rows past it are zero (labels -1).
    attribute_labels, attribute_scores: int32 and float32 [F, R], where the detector has attributes.

    Raises:
        RegionsError: a wrong type, shape or range.
    """

    features: NDArray[np.float16]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    count: NDArray[np.int32]
    attribute_labels: NDArray[np.int32] | None = None
    attribute_scores: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _check(self)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool [F, R], true where a region exists."""
        return np.arange(self.features.shape[1])[None, :] < self.count[:, None]

    def arrays(self) -> dict[str, NDArray]:
        """Field name to array, absent fields left out, in the order of the contract."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: array for name, array in found.items() if array is not None}


def boxes_from_corners(corners: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """Pixel corners [N, 4] in a frame of ``size = (height, width)`` to stored boxes float32 [N, 7]."""
    height, width = size
    scale = np.array([width, height, width, height], np.float64)
    box = np.clip(corners.astype(np.float64) / scale, 0.0, 1.0)
    w, h = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    return np.column_stack([box, w, h, w * h]).astype(np.float32)


def corners_from_boxes(boxes: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """Stored boxes [N, 7] to pixel corners float32 [N, 4] in a frame of ``size = (height, width)``."""
    height, width = size
    return (boxes[:, :4] * np.array([width, height, width, height])).astype(np.float32)


def check_array(name: str, dtype: np.dtype, shape: tuple[int, ...], features: tuple[int, ...]) -> None:
    """Whether the field ``name`` of regions with features of the shape ``features`` may have this type and shape.

    Raises:
        RegionsError: it may not.
    """
    if dtype != _DTYPES[name]:
        raise RegionsError(name, f"dtype {dtype}, expected {np.dtype(_DTYPES[name])}")
    f, r, _ = features
    expected = {"features": features, "boxes": (f, r, BOX_DIM), "count": (f,)}.get(name, (f, r))
    if shape != expected:
        raise RegionsError(name, f"shape {shape}, expected {expected}")


def check_count(count: NDArray[np.int32], regions: int) -> None:
    """Whether these can be numbers of regions in frames with room for so many.

    Raises:
        RegionsError: one is negative or too large.
    """
    if not all(0 <= n <= regions for n in count.tolist()):
        raise RegionsError("count", f"outside 0..{regions}")


def _finite(array: NDArray[np.floating]) -> bool:
    """numpy looks at float16 one by one; its exponent's bits, all set where it is not finite, go ten times as fast."""
    if array.dtype == np.float16:
        return bool((array.view(np.uint16) & 0x7C00 != 0x7C00).all())
    return bool(np.isfinite(array).all())


def _check(regions: Regions) -> None:
    arrays = regions.arrays()
    if regions.features.ndim != 3:
        raise RegionsError("features", f"shape {regions.features.shape} is not [F, R, V]")
    for name, array in arrays.items():
        check_array(name, array.dtype, array.shape, regions.features.shape)
        if array.dtype.kind == "f" and not _finite(array):
            raise RegionsError(name, "holds values that are not finite")
    if ("attribute_labels" in arrays) != ("attribute_scores" in arrays):
        raise RegionsError("attribute_scores", "attribute labels and scores come together or not at all")
    check_count(regions.count, regions.features.shape[1])
    _check_boxes(regions.boxes)
    _check_scores(regions.scores)
    if (regions.labels < -1).any():
        raise RegionsError("labels", "below -1")
    if min(regions.count.tolist(), default=0) < regions.features.shape[1]:
        _check_padding(arrays, ~regions.mask)


def _check_padding(arrays: dict[str, NDArray], padding: NDArray[np.bool_]) -> None:
    for name, array in arrays.items():
        nothing = -1 if name in ("labels", "attribute_labels") else 0
        if name != "count" and (array[padding] != nothing).any():
            raise RegionsError(name, f"rows past the count are not {nothing}")


def _check_boxes(boxes: NDArray[np.float32]) -> None:
    if boxes.size == 0:
        return
    if boxes.min() < 0 or boxes.max() > 1:
        raise RegionsError("boxes", "outside [0, 1]")
    sides = boxes[..., 2:4] - boxes[..., :2]
    if sides.min() < 0:
        raise RegionsError("boxes", "x2 < x1 or y2 < y1")
    width, height = boxes[..., 4], boxes[..., 5]
    derived = (("w", width, sides[..., 0]), ("h", height, sides[..., 1]), ("w*h", boxes[..., 6], width * height))
    for name, stored, expected in derived:
        if np.abs(stored - expected).max() > _BOX_TOLERANCE:
            raise RegionsError("boxes", f"column {name} does not agree with the corners")


def _check_scores(scores: NDArray[np.float32]) -> None:
    if scores.size and (scores.min() < 0 or scores.max() > 1):
        raise RegionsError("scores", "outside [0, 1]")
    if (scores[:, 1:] > scores[:, :-1]).any():
        raise RegionsError("scores", "not in falling order within a frame")
