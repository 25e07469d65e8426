"""Vectors that are kept: what is made again, and what is not."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluate.embed import TextTable, VideoTable, embed_sentences, embed_videos
from evaluate.embedding.store import LOCK_NAME, Store
from evaluate.stored import read_stored
from train.batch import collate_regions
from train.model import RegionTextModel

IDS = ("jug", "anvil", "harp", "bell", "flute", "globe", "drum", "easel", "crate")
SENTENCES = ("the globe moves", "jug", "the harp moves", "jug", "harp ##s", "moves", "the the the jug")


class KilledError(Exception):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def stored(make_world: Callable[..., Any]) -> Any:
    return read_stored(make_world().shards)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "kept", "model")


def videos_of(model: Any, stored: Any, store: Store | None, ids: tuple[str, ...] = IDS, **options: Any) -> VideoTable:
    return embed_videos(model, stored, ids, **{"frames": 3, "regions": 4, "batch_size": 1, "store": store} | options)


def same(one: VideoTable, other: VideoTable) -> bool:
    names = ("cls_BE", "regions_BNE", "mask_BN")
    looks = [
        [(look.boxes_FR4.tolist(), look.labels_FR.tolist(), look.timestamps, look.frame_size) for look in table.looks]
        for table in (one, other)
    ]
    return looks[0] == looks[1] and all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_kept_vectors_are_not_made_again(stand_in, stored, tmp_path) -> None:
    said: list[str] = []
    store = Store(tmp_path / "kept", "model", tell=said.append)
    first = videos_of(stand_in, stored, store)
    assert stand_in.clips == len(IDS) and not said
    again = videos_of(stand_in, stored, store)
    assert stand_in.clips == len(IDS) and same(first, again)
    assert said == [f"9 of 9 videos come from {next((tmp_path / 'kept').iterdir())}"]
    without = videos_of(stand_in, stored, None)
    assert same(first, without) and stand_in.clips == 2 * len(IDS)


def test_a_killed_evaluation_goes_on(stand_in, stored, tmp_path, monkeypatch) -> None:
    encode, said = stand_in.encode_video, []
    store = Store(tmp_path / "kept", "model", tell=said.append)

    def dies(batch: Any) -> Any:
        if stand_in.clips == 6:
            raise KilledError
        return encode(batch)

    monkeypatch.setattr(stand_in, "encode_video", dies)
    with pytest.raises(KilledError):
        videos_of(stand_in, stored, store)
    monkeypatch.setattr(stand_in, "encode_video", encode)
    found = videos_of(stand_in, stored, store)
    assert stand_in.clips == 6 + 5  # parts of four: one was whole
    assert said[0].startswith("4 of 9 videos")
    assert same(found, videos_of(stand_in, stored, None))


def test_a_broken_table_is_made_again(stand_in, stored, store) -> None:
    first = videos_of(stand_in, stored, store)
    kept = next(store.folder.iterdir())
    wrong = bytearray((kept / "regions.bin").read_bytes())
    wrong[100] ^= 255
    (kept / "regions.bin").unlink()  # a new file: what ``first`` has mapped stays as it is
    (kept / "regions.bin").write_bytes(wrong)
    assert same(videos_of(stand_in, stored, store), first) and stand_in.clips == 2 * len(IDS)
    assert not list(kept.glob("part-*"))


def test_what_vectors_depend_on_names_their_folder(stand_in, make_world, stored, store) -> None:
    def clips(*given: Any, **options: Any) -> int:
        before = stand_in.clips
        videos_of(stand_in, *given, **options)
        return stand_in.clips - before

    assert clips(stored, store) == 9
    assert clips(stored, Store(store.folder, "another model")) == 9
    assert clips(stored, store, ids=IDS[:4]) == 4
    assert clips(stored, store, ids=IDS[::-1]) == 9
    assert clips(stored, store, frames=1) == clips(stored, store, regions=3) == clips(stored, store, batch_size=2) == 9
    remade = read_stored(make_world({"jug": ("another caption",)}).shards)  # another shard of the test split
    assert clips(remade, store, ids=("anvil", "bell")) == 2
    assert clips(stored, store, ids=("anvil", "bell")) == 0  # the shard of these is the same
    assert clips(remade, store) == 9
    assert clips(stored, store) == 0


def test_without_keeping_nothing_stays(stand_in, stored, tmp_path) -> None:
    store = Store(tmp_path / "passing", "model", lasting=False)
    found = videos_of(stand_in, stored, store)
    assert list(store.folder.iterdir()) == []
    assert same(found, videos_of(stand_in, stored, None))


def test_a_folder_that_cannot_be_written_is_one_line(stand_in, stored, tmp_path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(Exception, match="vectors cannot be kept: Not a directory") as refused:
        videos_of(stand_in, stored, Store(tmp_path / "kept", "model"))
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("size", [1, 2, 100])
def test_batches_change_nothing_but_the_last_bits(model_folder, stored, size: int) -> None:
    model = RegionTextModel.from_pretrained(model_folder)
    whole, batched = (videos_of(model, stored, None, batch_size=n) for n in (None, size))
    torch.testing.assert_close(batched.regions_BNE, whole.regions_BNE, atol=1e-6, rtol=0)
    torch.testing.assert_close(batched.cls_BE, whole.cls_BE, atol=1e-6, rtol=0)
    one, other = (embed_sentences(model, SENTENCES, batch_size=n) for n in (None, size))
    torch.testing.assert_close(other.cls_UE, one.cls_UE, atol=1e-6, rtol=0)
    for left, right in zip(one.words, other.words, strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=0)


def test_vectors_are_the_models_own(model_folder, stored, store) -> None:
    """The obvious way: each clip and each sentence alone, straight through the model."""
    model = RegionTextModel.from_pretrained(model_folder)
    found = videos_of(model, stored, store, batch_size=None)
    regions = {sample.id: sample.regions for sample in stored.samples(frozenset(IDS))}
    texts = embed_sentences(model, SENTENCES, store=store)
    with torch.inference_mode():
        for row, identifier in enumerate(IDS):
            alone = model.encode_video(collate_regions([regions[identifier]], 3, 4, model.config.box_dim))
            torch.testing.assert_close(found.regions_BNE[row], alone.regions_BNE[0], atol=1e-6, rtol=0)
            assert torch.equal(found.mask_BN[row], alone.mask_BN[0])
        for sentence, row in zip(SENTENCES, texts.row_C, strict=True):
            alone = model.encode_text(model.tokenizer([sentence]))
            torch.testing.assert_close(texts.cls_UE[row], alone.cls_CE[0], atol=1e-6, rtol=0)
            torch.testing.assert_close(texts.words[row], alone.words_CLE[0][alone.mask_CL[0]], atol=1e-6, rtol=0)
            assert list(texts.tokens[row]) == model.tokenizer.words([sentence])[0]


def test_kept_sentences_are_not_made_again(stand_in, store) -> None:
    def equal(one: TextTable, other: TextTable) -> bool:
        words = all(torch.equal(a, b) for a, b in zip(one.words, other.words, strict=True))
        return words and one.tokens == other.tokens and torch.equal(one.cls_UE, other.cls_UE)

    stand_in.loss = stand_in.loss.model_copy(update={"local_form": "release"})
    first = embed_sentences(stand_in, SENTENCES, store=store)
    seen = len(stand_in.tokenizer.seen)
    again = embed_sentences(stand_in, SENTENCES, store=store)
    assert seen == len(set(SENTENCES)) == len(stand_in.tokenizer.seen)
    assert equal(first, again) and torch.equal(first.padded_ULE, again.padded_ULE)
    assert torch.equal(first.mask_UL, again.mask_UL)
    assert first.row_C.tolist() == [0, 1, 2, 1, 3, 4, 5]
    embed_sentences(stand_in, SENTENCES[::-1], store=store)
    assert len(stand_in.tokenizer.seen) == 2 * seen


def test_an_id_that_is_not_there_or_there_twice(stand_in, stored) -> None:
    with pytest.raises(Exception, match="no sample of 'zither' and 0 more"):
        videos_of(stand_in, stored, None, ids=("jug", "zither"))
    with pytest.raises(ValueError, match="1 of the ids are given twice"):
        videos_of(stand_in, stored, None, ids=("jug", "jug"))


def test_one_evaluation_waits_for_another_at_the_same_vectors(stand_in, stored, tmp_path) -> None:
    said: list[str] = []
    store = Store(tmp_path / "kept", "model", tell=said.append)
    first = videos_of(stand_in, stored, store)
    with (next(store.folder.iterdir()) / LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: said.append(same(videos_of(stand_in, stored, store), first)))
        waiting.start()
        while not said:
            time.sleep(0.01)
        assert "waiting for it" in said[0] and len(said) == 1
        fcntl.flock(lock, fcntl.LOCK_UN)
        waiting.join()
    assert said[1].startswith("9 of 9 videos") and said[2] is True
