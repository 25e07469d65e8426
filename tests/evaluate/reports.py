"""Pages of all tasks, made from tiny data by the code that the commands run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_specs.manifest import Question
from evaluate.comparison.groups import grouped
from evaluate.comparison.page import write_comparison
from evaluate.comparison.runs import read_runs
from evaluate.inputs import open_inputs
from evaluate.multiple_choice import Choices, MultipleChoiceOptions, evaluate_multiple_choice
from evaluate.question_answering import Answers, QuestionAnsweringOptions, evaluate_question_answering
from evaluate.reports import multiple_choice, question_answering, retrieval
from evaluate.retrieval import Retrieval, RetrievalOptions, evaluate_retrieval
from tests.evaluate.conftest import StandIn, World
from tests.evaluate.looking import made_video
from tests.evaluate.test_multiple_choice import QUESTIONS as CHOICES
from tests.evaluate.test_question_answering import QUESTIONS as OPEN
from tests.evaluate.test_question_answering import Answerer

ASKED: Mapping[str, tuple[Question, ...]] = {
    thing: (*CHOICES.get(thing, ()), *(q for q in OPEN.get(thing, ()) if not q.options)) for thing in {*CHOICES, *OPEN}
}
LABELS = ("thing one", "thing two")


def media(folder: Path) -> Path:
    """A folder with the media of two of the world's clips; the others are absent."""
    folder.mkdir()
    for name in ("globe", "harp"):
        made_video(folder, f"{name}.avi").rename(folder / f"{name}.mp4")
    return folder


def options_of(kind: type[Any], given: Mapping[str, object]) -> Any:
    return kind.model_validate({"resamples": 20, **given})


def retrieval_page(out: Path, world: World, root: Path | None = None, **given: object) -> tuple[Path, Retrieval]:
    model, inputs = StandIn(), open_inputs(out / "no-model", world.shards, world.manifest)
    found = evaluate_retrieval(model, inputs, out, options_of(RetrievalOptions, {"queries": "first", **given}))
    assert found is not None
    page = out / retrieval.PAGE_NAME
    return retrieval.write_report(page, found, model.loss, media_root=root, labels=LABELS), found


def multiple_choice_page(out: Path, world: World, root: Path | None = None, **given: object) -> tuple[Path, Choices]:
    model, inputs = StandIn(), open_inputs(out / "no-model", world.shards, world.manifest)
    found = evaluate_multiple_choice(model, inputs, out, options_of(MultipleChoiceOptions, given))
    assert found is not None
    page = out / multiple_choice.PAGE_NAME
    return multiple_choice.write_report(page, found, model.loss, media_root=root, labels=LABELS), found


def question_answering_page(out: Path, world: World, root: Path | None = None, **given: object) -> tuple[Path, Answers]:
    inputs = open_inputs(out / "no-model", world.shards, world.manifest)
    found = evaluate_question_answering(Answerer(), inputs, out, options_of(QuestionAnsweringOptions, given))
    assert found is not None
    page = out / question_answering.PAGE_NAME
    written = question_answering.write_report(page, found, inputs.stored, media_root=root, labels=LABELS)
    return written, found


def comparison_page(out: Path, found: Retrieval) -> Path:
    """The found result beside itself with fewer frames."""
    folders = []
    for frames in (1, 3):
        folder = out / f"run-{frames}"
        folder.mkdir()
        result = found.result.model_copy(update={"frames": frames, "model_sha256": str(frames) * 64})
        (folder / "retrieval.json").write_text(result.model_dump_json(), encoding="utf-8")
        folders.append(folder)
    return write_comparison(out, grouped(read_runs(folders)))
