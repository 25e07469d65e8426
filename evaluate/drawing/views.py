"""One video as a page shows it beside a sentence: its best frame, boxes, words and maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_specs.manifest import Item
from evaluate.drawing.alignment import align_pair
from evaluate.drawing.boxes import Box, Word, best_frame, boxes_of, shown_regions, words_of
from evaluate.drawing.heat import Grid, WordMap, grids_of, opened, word_maps
from evaluate.drawing.pictures import FrameAt, Picture
from evaluate.embed import TextTable, VideoTable
from train.config import LossConfig


@dataclass(frozen=True)
class View:
    """A frame and what is drawn on it. size: (height, width) in pixels. similarity: the local one of the pair.

    maps: one a word, the first ``open_maps`` of them in sight. grids: all words against all regions of the frame.
    """

    id: str
    picture: Picture
    timestamp: float
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    words: tuple[Word, ...]
    similarity: float = 0.0
    maps: tuple[WordMap, ...] = ()
    open_maps: int = 0
    grids: tuple[Grid, ...] = ()


@dataclass(frozen=True, eq=False)
class Scene:
    """All that views are made from. items: of the videos, row for row."""

    items: Sequence[Item]
    videos: VideoTable
    texts: TextTable
    loss: LossConfig
    frame_at: FrameAt
    labels: Sequence[str] = ()

    def view(self, b: int, u: int, boxes: int, maps: bool = False) -> View:
        """Video ``b`` beside distinct sentence ``u`` with at most so many boxes, and its heat maps where asked for."""
        aligned = align_pair(self.videos, b, self.texts, u, self.loss)
        mask_N, looks, item = self.videos.mask_BN[b].numpy(), self.videos.looks[b], self.items[b]
        regions_K = shown_regions(aligned, mask_N, looks, boxes)
        timestamp = looks.timestamps[best_frame(aligned, mask_N, looks)]
        words = word_maps(aligned, mask_N, looks, self.labels) if maps else ()
        return View(
            item.id,
            self.frame_at(item, timestamp),
            timestamp,
            looks.frame_size,
            boxes_of(aligned, regions_K, looks, self.labels),
            words_of(aligned, regions_K),
            aligned.similarity,
            words,
            opened(words),
            grids_of(aligned, mask_N, looks, self.labels) if maps else (),
        )
