"""One page: templates, what every page says of its result, and the writing of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from data_specs import atomic
from evaluate.drawing.pictures import Picture, album
from evaluate.drawing.views import View
from evaluate.result import Evaluation, counted
from evaluate.setting import WORDS

FEW_VIDEOS = 30


def write_page(path: Path, template: str, context: dict[str, Any]) -> Path:
    """Renders a template and writes it atomically. An HTML file, whole, without a script or a request."""
    atomic.write_text(path, environment().get_template(template).render(context))
    return path


def environment() -> Environment:
    """The templates of this package: everything that comes from data is escaped, an unknown name is an error."""
    return Environment(
        loader=PackageLoader("evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def shared(result: Evaluation, views: Iterable[View]) -> dict[str, Any]:
    """What the pages of all tasks say: the result itself, its setting in words, what is missing, and the frames."""
    views = list(views)
    return {
        "result": result,
        "counted": counted,
        "setting_words": WORDS[result.setting],
        "partial": partial(result),
        "few": result.videos < FEW_VIDEOS,
        "album": album_of(views),
        "problems": sorted({view.picture.problem for view in views if view.picture.problem}),
        "without_picture": len({view.id for view in views if view.picture.problem}),
    }


def partial(result: Evaluation) -> str:
    """``992/1000 videos`` where some are missing, for every figure, table and caption; else nothing."""
    return f"{result.videos}/{result.videos_planned} videos" if result.missing else ""


def album_of(views: Iterable[View]) -> dict[str, tuple[str, tuple[int, int]]]:
    """Data URI to the id of its frame on the page and its size (height, width)."""
    views = list(views)
    sizes = {view.picture.uri: view.size for view in views}
    pictures: list[Picture] = [view.picture for view in views]
    return {uri: (key, sizes[uri]) for uri, key in album(pictures).items()}
