"""The generated clips: of every kind, the same each time, and all of them good."""

from __future__ import annotations

import filecmp
from pathlib import Path

from data_specs.media import Limits
from extract.frames import sample_frames
from extract.sampling import Sampling
from tests.extract.clips import KINDS, is_made, make_clips


def test_clips_are_of_every_kind_and_made_again_the_same(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    items = make_clips(tmp_path / "one", 200, seed=1)
    assert items == make_clips(tmp_path / "two", 200, seed=1)
    assert len({item.id for item in items}) == len(items) == 200
    made = {name for name, kind in KINDS.items() if is_made(kind)}
    assert {item.id.rsplit("-", 1)[0] for item in items[: 2 * len(made)]} == made
    assert sum(item.clip_end is not None for item in items) > 20
    names = sorted({item.path for item in items})
    assert filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", names, shallow=False) == (names, [], [])


def test_every_clip_gives_its_frames(tmp_path: Path) -> None:
    for item in make_clips(tmp_path, 120, seed=2):
        frames = sample_frames(tmp_path, item, Sampling(4), Limits())
        assert len(frames.images) == (1 if item.media == "image" else 4), item
        assert list(frames.timestamps) == sorted(frames.timestamps)
