"""Rounds of an epoch, and what is taken of a clip in each: captions in turn, or questions in their place."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.errors import InputError
from data_specs.manifest import Question
from tests.train.test_stream import joined, keys, seen, spoil, stream
from tests.train.test_stream import settings as config_of
from train.stream import Batch, sequential

SIZES = (4, 1, 7, 0, 3)
CLIPS = sum(SIZES)


def captions_of(number: int) -> tuple[str, ...]:
    """One to five."""
    return tuple(f"{number}: caption {i}" for i in range(1 + number % 5))


def questions_of(number: int) -> tuple[Question, ...]:
    """One to four open-ended ones, with a multiple choice in front and another in their midst."""
    open_ended = [Question(f"{number}: what {i}?", f"{number}-{i}", label=i) for i in range(1 + number % 4)]
    choice = Question(f"{number}: which?", "a", options=("a", "b"), label=0)
    return (choice, open_ended[0], replace(choice, answer="b", label=1), *open_ended[1:])


def told(number: int) -> dict[str, Any]:
    return {"captions": captions_of(number), "questions": questions_of(number)}


def number_of(key: str) -> int:
    return int(key[len("clip%20") :][:3])


@pytest.fixture(scope="module")
def shards(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), SIZES, told=told)


@pytest.fixture(scope="module")
def captions_by_round(shards: Path) -> list[dict[str, str]]:
    """The caption of each clip, by its key, in each of many rounds, read as plainly as can be."""
    plain = stream(shards, batch_size=CLIPS)
    return [dict(zip(b.keys, b.captions, strict=True)) for number in range(24) for b in plain.epoch(number)]


def test_an_epoch_of_rounds_is_so_many_epochs_of_one(shards: Path) -> None:
    one, three = stream(shards), stream(shards, rounds=3)
    assert (three.batches_per_epoch, three.samples_per_epoch) == (15, 45)
    assert (one.batches_per_epoch, one.samples_per_epoch, three.num_samples) == (5, 15, 15)
    for epoch in range(2):
        rounds = [seen(one.epoch(3 * epoch + number)) for number in range(3)]
        assert seen(three.epoch(epoch)) == [batch for batches in rounds for batch in batches]
        assert len({str(batches) for batches in rounds}) == 3
    assert set(Counter(keys(three.epoch(0))).values()) == {3}


@pytest.mark.parametrize("changes", [{}, {"questions": 2}, {"epoch_samples": 26}], ids=str)
def test_any_start_gives_the_tail_of_the_same_rounds(shards: Path, changes: dict[str, int]) -> None:
    whole = seen(stream(shards, rounds=3, **changes).epoch(1))
    assert len(whole) == (8 if "epoch_samples" in changes else 15)
    ranks = [stream(shards, rank, 2, rounds=3, **changes) for rank in range(2)]
    for start in range(len(whole) + 1):
        assert joined([seen(rank.epoch(1, start)) for rank in ranks]) == whole[start:]


def test_a_limit_holds_for_all_rounds_together(shards: Path) -> None:
    """Of the rounds that are begun none is left out: the second epoch starts with the one after the first's last."""
    one, cut = stream(shards), stream(shards, rounds=9, epoch_samples=26)
    assert (cut.batches_per_epoch, cut.samples_per_epoch) == (8, 24)
    for epoch in range(3):
        first, second = (seen(one.epoch(2 * epoch + number)) for number in range(2))
        assert seen(cut.epoch(epoch)) == first + second[:3]


def test_in_n_rounds_a_clip_shows_each_of_its_n_captions(captions_by_round: list[dict[str, str]]) -> None:
    shown = defaultdict(list)
    for by_key in captions_by_round:
        assert len(by_key) == CLIPS
        for key, caption in by_key.items():
            shown[key].append(caption)
    for key, captions in shown.items():
        own = captions_of(number_of(key))
        for cycle in range(len(captions) // len(own)):
            assert sorted(captions[cycle * len(own) : (cycle + 1) * len(own)]) == sorted(own)


@settings(max_examples=25)
@given(
    rounds=st.integers(1, 4), batch_size=st.integers(3, 20), ranks=st.integers(1, 3),
    window=st.integers(1, 20), lanes=st.integers(1, 4), subset=st.sampled_from([0.3, 1.0]), epoch=st.integers(0, 5),
)  # fmt: skip
def test_a_clips_caption_depends_on_the_round_alone(
    shards: Path,
    captions_by_round: list[dict[str, str]],
    rounds: int,
    batch_size: int,
    ranks: int,
    window: int,
    lanes: int,
    subset: float,
    epoch: int,
) -> None:
    changes = {"batch_size": batch_size, "shuffle_window": window, "lanes": lanes, "subset": subset, "frames": 1}
    streams = [stream(shards, rank, ranks, rounds=rounds, **changes) for rank in range(ranks)]
    a_round = streams[0].batches_per_epoch // rounds
    for one in streams:
        for number, batch in enumerate(one.epoch(epoch)):
            expected = captions_by_round[epoch * rounds + number // a_round]
            assert batch.captions == tuple(expected[key] for key in batch.keys)


def test_seeds_and_sources_have_turns_of_their_own(
    make_shards: Callable[..., Path], tmp_path: Path, shards: Path, captions_by_round: list[dict[str, str]]
) -> None:
    def captions(*folders: Path, **changes: Any) -> list[dict[str, str]]:
        found = stream(shards, shards=folders, batch_size=CLIPS, **changes)
        return [dict(zip(b.keys, b.captions, strict=True)) for number in range(2) for b in found.epoch(number)]

    assert captions(shards) == captions_by_round[:2] != captions(shards, seed=2)
    twin = make_shards(tmp_path / "twin", SIZES, told=told)
    first, second, *_ = captions(shards, twin)
    assert first == captions_by_round[0] != second


def asked_by_clip(batch: Batch) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {key: [] for key in batch.keys}
    for asked in batch.questions:
        found[batch.keys[asked.clip]].append(asked.question)
    return found


@pytest.mark.parametrize("many", [1, 2, 3, 9])
def test_questions_are_taken_evenly_and_never_twice_at_once(shards: Path, many: int) -> None:
    asked: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for epoch in range(2):
        for batch in stream(shards, rounds=6, questions=many, batch_size=4, subset=0.9).epoch(epoch):
            assert batch.captions == () and len(batch.video) == len(batch.keys) == 4
            for key, questions in asked_by_clip(batch).items():
                assert len(questions) == len(set(questions)) == min(many, 1 + number_of(key) % 4)
    whole = stream(shards, rounds=6, questions=many, batch_size=CLIPS)
    for epoch in range(2):  # twelve rounds: whole cycles of each clip's one to four questions
        for batch in whole.epoch(epoch):
            for key, questions in asked_by_clip(batch).items():
                asked[key].update(questions)
            known = {key: {q.question: q.answer for q in questions_of(number_of(key))} for key in batch.keys}
            assert all(known[batch.keys[one.clip]][one.question] == one.answer for one in batch.questions)
    for key, counts in asked.items():
        own = [question.question for question in questions_of(number_of(key)) if not question.options]
        assert counts == dict.fromkeys(own, 12 * min(many, len(own)) // len(own))


def test_a_question_names_its_clip_beside_unreadable_ones(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    """The rows of a batch move up where a sample cannot be read, on each rank and in each process for itself."""
    spoil(make_shards(tmp_path, SIZES, told=told), "train-00002", 2)
    whole = stream(tmp_path, batch_size=CLIPS, questions=2, max_corrupt=0.2)
    (batch,) = whole.epoch(0)
    assert len(batch.keys) == CLIPS - 2 and len(whole.corrupt) == 2
    for key, questions in asked_by_clip(batch).items():
        assert questions and all(question.startswith(f"{number_of(key)}: ") for question in questions)
    two = stream(tmp_path, batch_size=CLIPS, questions=2, max_corrupt=0.2, workers=2)
    assert seen(two.epoch(0)) == seen(iter([batch]))
    two.close()


def test_in_order_each_clip_has_all_its_questions(shards: Path) -> None:
    config = config_of(shards, questions=1)
    batches = list(sequential(config, 7, most=11, batch_size=4))
    assert [len(batch.keys) for batch in batches] == [4, 4, 3] and {batch.captions for batch in batches} == {()}
    for batch in batches:
        expected = {key: [q.question for q in questions_of(number_of(key)) if not q.options] for key in batch.keys}
        assert asked_by_clip(batch) == expected
        assert list(batch.questions) == sorted(batch.questions, key=lambda asked: asked.clip)
    assert keys(iter(batches)) == keys(sequential(config_of(shards), 7, most=11, batch_size=4))


MUTE = {"captions": (), "questions": ()}
CHOOSES = {"questions": (Question("which?", "a", options=("a", "b"), label=0),)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (MUTE, "no caption, so there is nothing to learn from it; give others with data.shards"),
        ({"captions": ()}, "no caption, so there is nothing to learn from it; set data.questions=1 to"),
    ],
)
def test_a_clip_without_a_caption(
    make_shards: Callable[..., Path], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    folder = make_shards(tmp_path, (3, 2), told=lambda number: told(number) | (changed if number == 4 else {}))
    named = re.escape(f"train-00001.tar: sample clip%20004%2Emp4 has {message}")
    with pytest.raises(InputError, match=named):
        list(stream(folder, batch_size=5).epoch(0))
    with pytest.raises(InputError, match=named):
        list(sequential(config_of(folder), 7, most=9, batch_size=4))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_without_a_question_asks_nothing(make_shards: Callable[..., Path], tmp_path: Path, workers: int) -> None:
    silent = {1: MUTE, 3: CHOOSES, 4: MUTE}
    folder = make_shards(tmp_path, (3, 2), told=lambda number: told(number) | silent.get(number, {}))
    with closing(stream(folder, batch_size=5, questions=1, rounds=3, workers=workers)) as found:
        for batch in found.epoch(0):
            assert len(batch.keys) == 5
            assert {batch.keys[asked.clip] for asked in batch.questions} == {
                key for key in batch.keys if number_of(key) in (0, 2)
            }
    held_out = list(sequential(config_of(folder, questions=1), 7, most=9, batch_size=2))
    assert {batch.keys[asked.clip] for batch in held_out for asked in batch.questions} == {
        key for batch in held_out for key in batch.keys if number_of(key) in (0, 2)
    }


def test_clips_of_which_none_has_a_question(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    """A rank's share may be silent for long, so the stream gives it on; what is held out is looked at whole."""
    folder = make_shards(tmp_path, (3, 2), told=lambda number: told(number) | CHOOSES)
    with closing(stream(folder, batch_size=5, questions=1, rounds=50)) as found:
        assert all(len(batch.keys) == 5 and not batch.questions for batch in found.epoch(0))
    with pytest.raises(InputError, match="no open-ended question about the splits train"):
        list(sequential(config_of(folder, questions=1), 7, most=9, batch_size=4))


def test_what_is_taken_is_part_of_the_fingerprint(shards: Path) -> None:
    found = [stream(shards, **changes).fingerprint for changes in ({}, {"rounds": 2}, {"questions": 1})]
    assert len(set(found)) == 3
    assert stream(shards, workers=2, rounds=2).fingerprint == found[1]
