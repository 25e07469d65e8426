"""The retrieval page: one HTML file that needs nothing but itself."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from data_specs import atomic
from data_specs.failures import MediaError
from data_specs.stills import still
from evaluate import metrics
from evaluate.charts import rank_chart, recall_chart
from evaluate.gallery import MOST_BOXES, SAME_OBJECT_IOU, Example, FrameAt, Picture, examples
from evaluate.result import Direction, counted
from evaluate.retrieval import Retrieval

PAGE_NAME = "retrieval.html"
FEW_VIDEOS = 30
KINDS = {
    "all": ("Every query", "In the order of the manifest."),
    "best": ("Best", "Right, and by the widest margin."),
    "typical": ("Typical", "Around the median rank."),
    "worst": ("Worst", "The right video comes last of all, or by the widest margin."),
}


def write_report(
    path: Path, found: Retrieval, sharpness: float, *, media_root: Path | None = None, labels: Sequence[str] = ()
) -> Path:
    """Draws the page of a finished retrieval and writes it atomically.

    ``media_root`` is where the manifest's media paths start; without it, or where a file gives no frame, boxes are
    drawn on an empty canvas and the page says so. ``labels`` are the detector's class names.
    """
    frame_at = pictures(media_root)
    shown = examples(found, sharpness, frame_at, labels)
    page = _environment().get_template("retrieval.html").render(_context(found, shown))
    atomic.write_text(path, page)
    return path


def pictures(media_root: Path | None) -> FrameAt:
    """A function from an item and a time in seconds to its frame, each decoded once."""
    if media_root is None:
        return lambda item, timestamp: Picture(problem="no --media-root was given")

    @functools.cache
    def decoded(path: str, timestamp: float) -> Picture:
        try:
            jpeg = still(media_root / path, timestamp)
        except MediaError as error:
            return Picture(problem=str(error))
        return Picture(uri=f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}")

    return lambda item, timestamp: decoded(item.path, timestamp)


def _context(found: Retrieval, shown: list[Example]) -> dict[str, Any]:
    result = found.result
    views = [view for example in shown for view in (*example.top, *example.details)]
    problems = sorted({view.picture.problem for view in views if view.picture.problem})
    return {
        "result": result,
        "directions": (
            _card("Text to video", "a sentence looks for its video", result.text_to_video, "a"),
            _card("Video to text", "a video looks for one of its sentences", result.video_to_text, "b"),
        ),
        "counted": counted,
        "recall_chart": recall_chart(found.by_sentence, found.by_video),
        "rank_chart": rank_chart(found.by_sentence, found.by_video),
        "groups": [
            (*KINDS[kind], [example for example in shown if example.kind == kind])
            for kind in KINDS
            if any(example.kind == kind for example in shown)
        ],
        "problems": problems,
        "without_picture": len({view.id for view in views if view.picture.problem}),
        "few": result.videos < FEW_VIDEOS,
        "same_object": SAME_OBJECT_IOU,
        "box_numbers": range(1, MOST_BOXES + 1),
        "unit": {name: " %" if name in (*metrics.RECALLS, "GeoMean") else "" for name in metrics.FIGURES},
    }


def _card(title: str, meaning: str, direction: Direction, series: str) -> dict[str, Any]:
    tied = any(abs(direction.optimistic[name] - direction.figures[name]) > 0.05 for name in metrics.FIGURES)
    return {"title": title, "meaning": meaning, "of": direction, "tied": tied, "series": series}


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
