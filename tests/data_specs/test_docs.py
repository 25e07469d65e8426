"""docs/data-sets.md: its table is what the specs say, and its worked example builds word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_specs.__main__ import main
from data_specs.annotations.registry import PARSERS
from data_specs.build import build_manifest
from data_specs.manifest import read_manifest
from data_specs.protocol import AnswerSpec, ChoiceSpec, ProtocolSpec, SplitSpec
from data_specs.spec import DatasetSpec, FileSpec, load_spec, spec_names

PAGE = (Path(__file__).parents[2] / "docs/data-sets.md").read_text(encoding="utf-8")
EXAMPLE = "kitchen.yaml"


def table_row(name: str, short: str) -> str:
    """The row that the page should have for a protocol."""
    protocol = load_spec(name).protocols[short]
    sizes = []
    for split, what in protocol.splits.items():
        numbers = [(what.videos, " videos"), (what.caption_count, " captions"), (what.question_count, " questions")]
        shown = [f"{count:,}{unit}" for count, unit in numbers if count is not None]
        sizes.append(f"{split} {' / '.join(shown) or 'any'}")
    reported = "yes" if protocol.reported else ""
    return f"| `{name}/{short}` | {protocol.task} | {reported} | {'; '.join(sizes)} |"


def blocks() -> dict[str, str]:
    """The files that the worked example shows: name to content."""
    found = re.findall(r"^`([\w/.]+)`:\n\n```\w*\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    return {name: text for name, text in found}


@pytest.mark.parametrize("name", spec_names())
def test_the_table_holds_every_protocol(name: str) -> None:
    rows = [table_row(name, short) for short in load_spec(name).protocols]
    missing = [row for row in rows if row not in PAGE]
    assert not missing, "docs/data-sets.md should have\n" + "\n".join(rows)


def test_the_table_holds_nothing_else() -> None:
    known = {f"{name}/{short}" for name in spec_names() for short in load_spec(name).protocols}
    assert set(re.findall(r"^\| `([^`]+/[^`]+)` \|", PAGE, flags=re.MULTILINE)) == known


def test_every_key_and_format_is_explained() -> None:
    for model in (DatasetSpec, FileSpec, ProtocolSpec, SplitSpec, AnswerSpec, ChoiceSpec):
        for key in model.model_fields:
            assert f"`{key}`" in PAGE or f"`{key}:" in PAGE, f"{model.__name__}.{key}"
    for name in PARSERS:
        assert re.search(rf"^\| `{name}` \|", PAGE, flags=re.MULTILINE), name


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The files of the worked example, as the page shows them; media are empty files."""
    for name, text in blocks().items():
        path = tmp_path / (name if name == EXAMPLE else f"data/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_the_worked_example_builds(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    commands = re.findall(rf"^python -m data_specs ((?:show|build) \S*{EXAMPLE}.*)$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        result = CliRunner().invoke(main, command.split())
        assert result.exit_code == 0, result.output
    spec = load_spec(EXAMPLE)
    assert spec.format in PARSERS and spec.name not in spec_names()
    retrieval, questions = read_manifest(example / "kitchen.parquet"), read_manifest(example / "kitchen-qa.parquet")
    assert retrieval.counts() == {"train": 2, "test": 1} and retrieval.info.rules["queries"] == "first"
    assert [item.captions for item in retrieval] == [
        ("someone slices an onion", "an onion is cut"),
        ("water boils in a pot",),
        ("a cook flips a pancake", "a pancake flies"),
    ]
    assert [item.path for item in retrieval] == [f"clips/{item.id}.mp4" for item in retrieval]
    assert questions.info.answers == ("onion", "water") and questions.info.protocol == "kitchen/qa"
    labels = {q.answer: q.label for item in questions for q in item.questions}
    assert labels == {"onion": 0, "water": 1, "pancake": -1}


def test_the_worked_example_breaks_where_its_files_do(example: Path) -> None:
    built = build_manifest(load_spec(str(example / EXAMPLE)), example / "data", example / "m.parquet", "qa")
    assert {split: (c.covered, c.asked) for split, c in built.coverage.items()} == {"train": (3, 3), "test": (0, 1)}
    text = (example / EXAMPLE).read_text()
    (example / EXAMPLE).write_text(text.replace("queries: first", "queris: first"))
    result = CliRunner().invoke(main, ["show", str(example / EXAMPLE)])
    assert result.exit_code == 2 and "unknown key 'protocols.captions.queris'" in result.output
