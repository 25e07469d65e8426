"""Writes a shapes data set: clips, words and true boxes, in its own layout or in MSR-VTT's."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import ffmpeg
from pydantic import ValidationError

from data_specs import atomic
from data_specs.configuration import Settings
from data_specs.errors import InputError, did_you_mean
from data_specs.manifest import SPLITS
from data_specs.media import Limits, find_tool, run_tool
from data_specs.orphans import end_with_parent
from data_specs.shapes import msrvtt_layout, native_layout
from data_specs.shapes.families import VERSION as FAMILIES_VERSION
from data_specs.shapes.families import make_families
from data_specs.shapes.render import FrameTruth, render_frame
from data_specs.shapes.scene import CLASS_NAMES, FRAME_COUNT, FRAMES_PER_SECOND, HEIGHT, WIDTH, Scene, make_scene

LAYOUTS = ("native", "msrvtt")
RECORD = "shapes.json"
BOXES = {split: f"boxes/{split}.json" for split in SPLITS}
VERSION = 1
"""Of the clips: another one where pixels or bytes of the same scene are others."""
_CRF, _PRESET = 23, "slow"
_LIMITS = Limits(wall_s=120.0, cpu_s=120)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Clip:
    """A scene and the id its clip has in the data set."""

    id: str
    scene: Scene


class _Asked(Settings):
    version: Literal[1] = VERSION
    layout: Literal["native", "msrvtt"]
    seed: int
    splits: dict[str, int]
    families: Literal[False, 3]  # their version


def split_counts(videos: int) -> dict[str, int]:
    """How many of ``videos`` clips each split gets: 60 % train, the rest halved between val and test.

    Raises:
        InputError: fewer than 3.
    """
    if videos < 3:
        raise InputError(f"--videos {videos}: at least 3, one a split")
    val = max(1, round(0.2 * videos))
    return {"train": videos - 2 * val, "val": val, "test": val}


def generate(
    out: Path,
    videos: int,
    seed: int = 0,
    layout: str = "native",
    splits: Mapping[str, int] | None = None,
    families: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> list[Clip]:
    """Writes ``videos`` clips with their annotations below ``out``; returns what it wrote.

    ``splits`` says how many clips each split gets (default: ``split_counts``; MSR-VTT's jsfusion split has no val, so
    with that layout test gets val's share). ``families``: clips come in fours that show the same things, in the native
    layout. ``workers`` processes draw and encode (0: this one); the bytes are the same. ``progress`` is called with
    (clips done, clips in all).
    Files are whole or absent; ``shapes.json``, which says what was asked for, comes first and annotations come last,
    so that they never stand beside clips of another run. Files of another run are written anew; a run that was
    stopped goes on behind its clips.

    Raises:
        InputError: an unknown layout or split, counts that do not add up, or a folder that holds something else.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout {layout!r} is unknown: {did_you_mean(layout, LAYOUTS)}")
    clips = plan_clips(videos, seed, layout, splits, families)
    pairs = [(clip.id, clip.scene) for clip in clips]
    if layout == "native":
        media_path, words = native_layout.MEDIA_PATH, native_layout.annotation_files(pairs, families)
    else:
        media_path, words = msrvtt_layout.MEDIA_PATH, msrvtt_layout.annotation_files(pairs)
    counts = Counter(clip.scene.split for clip in clips)
    asked = _Asked(layout=layout, seed=seed, splits=dict(counts), families=FAMILIES_VERSION if families else False)
    goes_on = _claim(out, asked, [*words, *BOXES.values()])
    atomic.remove_leftovers((out / media_path).parent)
    truth: dict[str, list[list[FrameTruth]]] = {}
    with _mapped(workers) as each:
        for done, frames in enumerate(each(partial(_write_clip, out, media_path, goes_on), clips), start=1):
            truth.setdefault(clips[done - 1].scene.split, []).append(frames)
            if progress is not None:
                progress(done, len(clips))
    for split, frames_of_clips in truth.items():
        members = [clip for clip in clips if clip.scene.split == split]
        atomic.write_text(out / BOXES[split], _dumps(coco(members, frames_of_clips)) + "\n")
    for path, text in words.items():
        atomic.write_text(out / path, text)
    return clips


def read_clips(out: Path) -> tuple[list[Clip], bool]:
    """The clips of a folder, and whether they are families, from its ``shapes.json``.

    Raises:
        InputError: it is not there, or is not what ``generate`` wrote.
    """
    path = out / RECORD
    try:
        asked = _Asked.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is not there: is {out} what python -m data_specs make-shapes wrote?") from None
    except ValidationError as error:
        raise InputError(f"{path}: {error.errors()[0]['msg']}; make the data set again") from None
    videos, families = sum(asked.splits.values()), bool(asked.families)
    return plan_clips(videos, asked.seed, asked.layout, asked.splits, families), families


def plan_clips(
    videos: int, seed: int, layout: str, splits: Mapping[str, int] | None = None, families: bool = False
) -> list[Clip]:
    """Which scenes a data set holds and what their ids are; see ``generate``."""
    if splits is None:
        splits = split_counts(videos)
        if layout == "msrvtt":
            splits = {"train": splits["train"], "test": splits["val"] + splits["test"]}
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise InputError(f"split {unknown[0]!r} is unknown: {did_you_mean(unknown[0], SPLITS)}")
    if sum(splits.values()) != videos or min(splits.values()) < 0:
        raise InputError(f"splits {dict(splits)} do not add up to {videos} videos")
    if layout == "msrvtt" and splits.get("val"):
        raise InputError("the msrvtt layout follows the jsfusion split, which has train and test, no val")
    if families and layout != "native":
        raise InputError(f"layout {layout!r} has no families; leave them out, or take native")
    if families:
        scenes = [scene for split in SPLITS for scene in make_families(seed, split, splits.get(split, 0))]
    else:
        scenes = [make_scene(seed, split, index) for split in SPLITS for index in range(splits.get(split, 0))]
    if layout == "msrvtt":
        return [Clip(f"video{number}", scene) for number, scene in enumerate(scenes)]
    return [Clip(f"{scene.split}-{scene.index:06d}", scene) for scene in scenes]


def encode_clip(frames: Sequence[FrameTruth], path: Path) -> None:
    """Encodes frames as H.264 in mp4. The same ffmpeg gives the same bytes.

    Raises:
        InputError: ffmpeg cannot encode, with what it said.
    """
    with atomic.replacing(path) as temporary, tempfile.TemporaryFile() as raw:
        for frame in frames:
            raw.write(frame.image.tobytes())
        raw.seek(0)
        source = ffmpeg.input(
            "pipe:0", format="rawvideo", pix_fmt="rgb24", s=f"{WIDTH}x{HEIGHT}", framerate=FRAMES_PER_SECOND
        )
        encoded = source.output(
            str(temporary),
            format="mp4",
            vcodec="libx264",
            pix_fmt="yuv420p",
            preset=_PRESET,
            crf=_CRF,
            threads=1,
            map_metadata=-1,
            fflags="+bitexact",
            movflags="+faststart",
            **{"flags:v": "+bitexact"},
        )
        arguments = encoded.global_args("-nostdin", "-loglevel", "error", "-y").compile(cmd=str(find_tool("ffmpeg")))
        completed = run_tool(arguments, _LIMITS, stdin=raw)
        if completed.returncode != 0 or temporary.stat().st_size == 0:
            raise InputError(f"{path}: ffmpeg could not encode it: {completed.stderr or completed.returncode}")


def coco(clips: Sequence[Clip], frames_of_clips: Sequence[Sequence[FrameTruth]]) -> dict[str, Any]:
    """True boxes as COCO: one image a frame (``video_id``, ``timestamp`` in seconds), bbox x, y, w, h in pixels.

    Category ids are indices of ``CLASS_NAMES``, from 0. ``visible`` is the share of a box's thing that is not hidden.
    """
    images, annotations = [], []
    for clip, frames in zip(clips, frames_of_clips, strict=True):
        for number, frame in enumerate(frames):
            image = {"id": len(images), "file_name": f"{clip.id}/{number:04d}", "video_id": clip.id}
            image |= {"timestamp": number / FRAMES_PER_SECOND, "width": WIDTH, "height": HEIGHT}
            for box, label, visible in zip(frame.boxes.tolist(), frame.labels.tolist(), frame.visible, strict=True):
                x1, y1, x2, y2 = box
                bbox = [x1, y1, x2 - x1, y2 - y1]
                annotation = {"id": len(annotations), "image_id": image["id"], "category_id": label, "bbox": bbox}
                annotation |= {"area": bbox[2] * bbox[3], "iscrowd": 0, "visible": round(float(visible), 4)}
                annotations.append(annotation)
            images.append(image)
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _claim(out: Path, asked: _Asked, annotations: Sequence[str]) -> bool:
    """Makes the folder this data set's own, and takes an earlier run's annotations away before its clips change.

    True where that run was asked for the same: its clips are these.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise InputError(f"{out}: is not empty and holds no shapes data set; give another folder with --out")
    for path in annotations:
        (out / path).unlink(missing_ok=True)
    text = asked.model_dump_json() + "\n"
    same = (out / RECORD).is_file() and (out / RECORD).read_bytes() == text.encode()
    atomic.write_text(out / RECORD, text)
    return same


def _write_clip(out: Path, media_path: str, goes_on: bool, clip: Clip) -> list[FrameTruth]:
    """Draws a clip and encodes it, unless ``goes_on`` and it is there; gives what is true of its frames."""
    frames = [render_frame(clip.scene, number / FRAMES_PER_SECOND) for number in range(FRAME_COUNT)]
    path = out / media_path.format(id=clip.id)
    if not (goes_on and path.is_file()):
        encode_clip(frames, path)
    return [_without_image(frame) for frame in frames]


@contextmanager
def _mapped(workers: int) -> Iterator[Callable[..., Iterator[list[FrameTruth]]]]:
    """``map``, in so many processes."""
    if not workers:
        yield map
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent)
    try:
        yield partial(pool.map, chunksize=4)
    finally:
        pool.shutdown(cancel_futures=True)


def _without_image(frame: FrameTruth) -> FrameTruth:
    return FrameTruth(frame.image[:0], frame.boxes, frame.labels, frame.visible)


def _dumps(tree: Any) -> str:
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False)
