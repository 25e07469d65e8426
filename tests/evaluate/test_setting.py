from __future__ import annotations

from pathlib import Path

import pytest

from data_specs.errors import InputError
from data_specs.spec import load_spec, spec_names
from evaluate.protocol import splits_alike
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


def under(protocol: str, *splits: str) -> Learnt:
    source = LearntFrom(dataset="msrvtt", protocol=protocol, manifest_sha256="0", splits=splits)
    return run("webvid", "train").model_copy(update={"sources": (source,)})


@pytest.mark.parametrize(
    ("learnt", "asked", "expected"),
    [
        (("1k-A", "train"), "1k-A", "tuned"),
        (("1k-A", "train"), "full", "other-protocol"),
        (("1k-A", "train"), "mc", "other-protocol"),
        (("full", "train", "val"), "mc", "tuned"),
        (("full", "train", "test"), "qa", "seen"),
        (("qa", "train"), "1k-A", "other-protocol"),
    ],
)
def test_splits_of_other_protocols_are_other_clips(learnt: tuple[str, ...], asked: str, expected: str) -> None:
    history = (under(*learnt),)
    assert setting_of(history, "msrvtt", ("test",), asked, splits_alike("msrvtt", asked)) == expected
    assert setting_of((*history, run("webvid", "train")), "msvd", ("test",), "qa") == "zero-shot"


def test_protocols_that_split_alike_say_so_of_each_other() -> None:
    for dataset in spec_names():
        known = load_spec(dataset).protocols
        for name, protocol in known.items():
            assert all(name in known[other].splits_as for other in protocol.splits_as)


def test_history_comes_back(tmp_path: Path) -> None:
    runs = (run("webvid", "train"), run("msrvtt", "train"))
    assert read_history(tmp_path) == read_history(tmp_path / "absent") == ()
    write_history(tmp_path, runs)
    assert read_history(tmp_path) == runs


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    (tmp_path / HISTORY_NAME).write_text('{"format_version": 2, "runs": []}')
    with pytest.raises(InputError, match=r"history\.json: not a model's history"):
        read_history(tmp_path)
