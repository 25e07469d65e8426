"""The shapes data set's own annotation files: one JSON line a clip, one file a split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from data_specs.manifest import SPLITS
from data_specs.shapes.captions import captions_of
from data_specs.shapes.choices import multiple_choice
from data_specs.shapes.questions import questions_of
from data_specs.shapes.scene import Scene

MEDIA_PATH = "videos/{id}.mp4"
CAPTIONS = 8
_OTHERS = 8  # scenes whose captions serve as wrong options


def annotation_files(clips: Sequence[tuple[str, Scene]], families: bool = False) -> dict[str, str]:
    """Relative path to text: ``annotations/{split}.jsonl`` for each split, empty where it has no clips.

    Of ``families`` captions and questions are those of kin.
    """
    lines: dict[str, list[str]] = {split: [] for split in SPLITS}
    for number, (identifier, scene) in enumerate(clips):
        asked = [*questions_of(scene, families), multiple_choice(scene, others(clips, number), families)]
        row = {
            "id": identifier,
            "captions": [caption.text for caption in captions_of(scene, CAPTIONS, families)],
            "questions": [asdict(q) | {"key": f"{identifier}-q{place}"} for place, q in enumerate(asked)],
        }
        lines[scene.split].append(json.dumps(row, ensure_ascii=False) + "\n")
    return {f"annotations/{split}.jsonl": "".join(rows) for split, rows in lines.items()}


def others(clips: Sequence[tuple[str, Scene]], number: int) -> list[Scene]:
    """The scenes after a clip, whose captions serve as its wrong options."""
    return [clips[(number + step) % len(clips)][1] for step in range(1, min(_OTHERS, len(clips)))]
