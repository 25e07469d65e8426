from __future__ import annotations

from pathlib import Path

import pytest

from data_specs.errors import InputError
from evaluate.setting import WORDS, setting_of
from train.history import HISTORY_NAME, Learnt, LearntFrom, read_history, write_history


def run(dataset: str, *splits: str) -> Learnt:
    source = LearntFrom(dataset=dataset, manifest_sha256="0", splits=splits)
    return Learnt(objective="contrastive", sources=(source,), frames=1, regions=30, steps=10, batch_size=8)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ((), "unknown"),
        ((run("webvid", "train"),), "zero-shot"),
        ((run("webvid", "train", "test"),), "zero-shot"),
        ((run("webvid", "train"), run("msrvtt", "train", "val")), "tuned"),
        ((run("msrvtt", "train", "test"), run("msrvtt", "train")), "seen"),
    ],
)
def test_setting(history: tuple[Learnt, ...], expected: str) -> None:
    assert setting_of(history, "msrvtt", ("test",)) == expected
    assert expected in WORDS


def test_history_comes_back(tmp_path: Path) -> None:
    runs = (run("webvid", "train"), run("msrvtt", "train"))
    assert read_history(tmp_path) == read_history(tmp_path / "absent") == ()
    write_history(tmp_path, runs)
    assert read_history(tmp_path) == runs


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    (tmp_path / HISTORY_NAME).write_text('{"format_version": 2, "runs": []}')
    with pytest.raises(InputError, match=r"history\.json: not a model's history"):
        read_history(tmp_path)
