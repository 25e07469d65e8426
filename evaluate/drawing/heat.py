"""Heat maps: where on a frame a word is answered, and the whole matrix of words and regions.

Letters: N = F*R regions a video, R regions of the frame shown, W words.
A point of a map has the attention of the strongest region that covers it, so that overlapping boxes do not add up. The
colours go from black to yellow, ever lighter: the order survives grey printing and colour-blind eyes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluate.drawing.alignment import Alignment
from evaluate.drawing.boxes import best_frame, corners_of, label_of, rows_of
from evaluate.embed import Looks

OPEN_MAPS = 8
ACROSS = 64  # points of a map
LEVELS = 32  # shades of a map
HOTTEST = (250, 240, 100)
VEIL = 0.62  # opacity of a map
REGION_ATTENTION = "each region's attention over the words"
WORD_ATTENTION = "each word's attention over the regions"
_ARTICLES_AND_THEIR_LIKE = """
a about above after all am among an and any are as at away be been before being below beside between both but by can
could did do does down each for from had has have he her here him his how i if in into is it its me my near no not of
off on one onto or other our out over s she so some than that the their them then there these they this those through
to too toward towards under until up upon us was we were what when where which while who whose will with would you your
video clip shows show shown see
"""
_FUNCTION_WORDS = frozenset(_ARTICLES_AND_THEIR_LIKE.split())


@dataclass(frozen=True)
class Heat:
    """A map over the frame as a data URI (PNG), and where it is hottest.

    share: there, in [0, 1]. box: of that region, x, y, width and height in pixels. number: its place among the frame's
    regions, from 1. label: its name.
    """

    uri: str
    share: float
    box: tuple[float, float, float, float]
    number: int
    label: str


@dataclass(frozen=True)
class WordMap:
    """A word with one map for each attention that the model's form has. content: it is no article, preposition etc."""

    word: str
    content: bool
    heats: tuple[Heat, ...]


@dataclass(frozen=True)
class Column:
    """A region of the frame: its number by confidence, from 1, and its name."""

    number: int
    label: str


@dataclass(frozen=True)
class Grid:
    """One attention as a matrix: shares[w][r] in [0, 1]. top: its highest share, the hot end of the colours."""

    title: str
    words: tuple[str, ...]
    columns: tuple[Column, ...]
    shares: tuple[tuple[float, ...], ...]
    top: float


def grids_of(aligned: Alignment, mask_N: NDArray[np.bool_], looks: Looks, labels: Sequence[str]) -> tuple[Grid, ...]:
    """The words against the regions of the frame that answers best, one matrix an attention; () without regions."""
    rows = rows_of(best_frame(aligned, mask_N, looks), mask_N, looks)
    per_frame = looks.boxes_FR4.shape[1]
    columns = tuple(Column(int(n) % per_frame + 1, label_of(int(n), looks, labels)) for n in rows)
    if not columns or not aligned.words:
        return ()
    kinds = [(REGION_ATTENTION, aligned.shares_NW)]
    if aligned.sought_NW is not None:
        kinds.append((WORD_ATTENTION, aligned.sought_NW))
    found = []
    for title, values_NW in kinds:
        shares_WR = values_NW[rows].T
        shares = tuple(tuple(row) for row in shares_WR.tolist())
        found.append(Grid(title, aligned.words, columns, shares, float(shares_WR.max())))
    return tuple(found)


def word_maps(
    aligned: Alignment, mask_N: NDArray[np.bool_], looks: Looks, labels: Sequence[str]
) -> tuple[WordMap, ...]:
    """One entry a word: content words first, then the others, each in the sentence's order; () without regions.

    The hot end of a map is the word's largest share on this frame, or an even share where that is more: a word that no
    region answers to stays dark.
    """
    rows = rows_of(best_frame(aligned, mask_N, looks), mask_N, looks)
    grids = grids_of(aligned, mask_N, looks, labels)
    corners_R4 = np.array([corners_of(int(n), looks) for n in rows])
    found = []
    for w, word in enumerate(aligned.words if grids else ()):
        heats = tuple(_heat(w, grid, corners_R4, looks.frame_size) for grid in grids)
        found.append(WordMap(word, is_content(word), heats))
    return tuple(sorted(found, key=lambda made: not made.content))


def opened(maps: Sequence[WordMap]) -> int:
    """How many of the maps are in sight, the others folded: the content words, at most ``OPEN_MAPS`` (without any: of
    the other words)."""
    content = sum(made.content for made in maps)
    return min(content or len(maps), OPEN_MAPS)


def is_content(word: str) -> bool:
    """Whether a word names something, rather than an article, a preposition, a pronoun or punctuation."""
    return any(letter.isalnum() for letter in word) and not word.startswith("[") and word not in _FUNCTION_WORDS


def _heat(w: int, grid: Grid, corners_R4: NDArray[np.float64], size: tuple[int, int]) -> Heat:
    shares_R = np.array(grid.shares[w])
    hottest = int(shares_R.argmax())
    x1, y1, x2, y2 = corners_R4[hottest].tolist()
    column = grid.columns[hottest]
    even = 1.0 / (len(grid.words) if grid.title == REGION_ATTENTION else len(grid.columns))
    uri = _painted(highest(shares_R / max(shares_R[hottest], even), corners_R4, size))
    return Heat(uri, float(shares_R[hottest]), (x1, y1, x2 - x1, y2 - y1), column.number, column.label)


def highest(
    values_R: NDArray[np.float64], corners_R4: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """The highest value over each point of a frame of ``size`` (height, width), ``ACROSS`` points wide; 0 outside."""
    height, width = size
    down = max(round(ACROSS * height / width), 1)
    points = np.zeros((down, ACROSS))
    steps_R4 = np.rint(corners_R4 * (ACROSS / width, down / height, ACROSS / width, down / height)).astype(int)
    for value, (x1, y1, x2, y2) in zip(values_R, steps_R4.tolist(), strict=True):
        part = points[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
        np.maximum(part, value, out=part)
    return points


def _painted(points: NDArray[np.float64]) -> str:
    levels = np.rint(np.clip(points, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    image = Image.fromarray(levels)
    colours = np.linspace(0, 1, LEVELS)[:, None] * np.array(HOTTEST)
    image.putpalette(np.rint(colours).astype(np.uint8).tobytes())
    stored = io.BytesIO()
    image.save(stored, "PNG", transparency=bytes([round(255 * VEIL)]) * LEVELS)
    return f"data:image/png;base64,{base64.b64encode(stored.getvalue()).decode('ascii')}"
