"""Annotation files in the forms in which MSR-VTT's are published, for clips of shapes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from data_specs.shapes.captions import Caption, captions, identifying
from data_specs.shapes.choices import multiple_choice
from data_specs.shapes.questions import ANSWERS, questions
from data_specs.shapes.scene import Purpose, Scene, generator_of

MEDIA_PATH = "videos/all/{id}.mp4"
_CAPTIONS = 20
_LISTS = "high-quality/structured-symlinks"

Clips = Sequence[tuple[str, Scene]]


def annotation_files(clips: Clips) -> dict[str, str]:
    """Relative path to text, with the published files' peculiarities.

    Captions of one video do not stand together, lists and jsonl end without a line feed, MC answers are text.
    """
    said = {identifier: captions(scene, _CAPTIONS) for identifier, scene in clips}
    test = [(identifier, scene) for identifier, scene in clips if scene.split == "test"]
    index = {i: _query_index(scene, said[i], [s for other, s in test if other != i]) for i, scene in test}
    files = {
        "annotation/MSR_VTT.json": json.dumps(_coco_captions(clips, said)),
        f"{_LISTS}/train_list_jsfusion.txt": "\n".join(i for i, scene in clips if scene.split == "train"),
        f"{_LISTS}/val_list_jsfusion.txt": "\n".join(i for i, _ in test),
        f"{_LISTS}/jsfusion_val_caption_idx.json": json.dumps(index, indent=0) + "\n",
        "annotation/MSRVTT_JSFUSION_test.csv": _sentence_list(test, said, index),
        "msrvtt_qa/msrvtt_train_ans2label.json": json.dumps({answer: n for n, answer in enumerate(ANSWERS)}),
        "msrvtt_mc/msrvtt_mc_test.jsonl": "\n".join(_multiple_choice_lines(test)),
    }
    for split in ("train", "test"):
        lines = [json.dumps(row) for i, scene in clips if scene.split == split for row in _question_rows(i, scene)]
        files[f"msrvtt_qa/msrvtt_qa_{split}.jsonl"] = "\n".join(lines)
    return files


def _coco_captions(clips: Clips, said: dict[str, tuple[Caption, ...]]) -> dict[str, Any]:
    rounds = [(identifier, place) for place in range(_CAPTIONS) for identifier, _ in clips]
    return {
        "info": {"description": "shapes in the layout of MSR-VTT", "version": "1"},
        "images": [{"id": identifier, "file_name": f"{identifier}.mp4"} for identifier, _ in clips],
        "annotations": [
            {"image_id": identifier, "caption": said[identifier][place].text, "id": number}
            for number, (identifier, place) in enumerate(rounds)
        ],
        "licenses": [],
        "type": "captions",
    }


def _query_index(scene: Scene, said: Sequence[Caption], others: Sequence[Scene]) -> int:
    """A random caption that is true of no other test clip; the first one where there is none."""
    rng = generator_of(scene.seed, scene.split, scene.index, Purpose.QUERY)
    order = [int(place) for place in rng.permutation(len(said))]
    return next((place for place in order if identifying(said[place], others)), 0)


def _sentence_list(test: Clips, said: dict[str, tuple[Caption, ...]], index: dict[str, int]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("key", "vid_key", "video_id", "sentence"))
    for row, (identifier, _) in enumerate(test):
        sentence = said[identifier][index[identifier]].text
        writer.writerow((f"ret{row}", identifier.replace("video", "msr"), identifier, sentence))
    return text.getvalue()


def _question_rows(identifier: str, scene: Scene) -> list[dict[str, str]]:
    return [
        {"answer": q.answer, "question": q.question, "video_id": identifier, "answer_type": q.answer_type}
        for q in questions(scene)
    ]


def _multiple_choice_lines(test: Clips) -> list[str]:
    lines = []
    for row, (identifier, scene) in enumerate(test):
        others = [test[(row + step) % len(test)][1] for step in range(1, min(8, len(test)))]
        asked = multiple_choice(scene, others)
        fields = {"qid": f"mc{row}", "clip_name": identifier, "title": identifier.replace("video", "msr")}
        lines.append(json.dumps(fields | {"answer": str(asked.label), "options": list(asked.options)}))
    return lines
