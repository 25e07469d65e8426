"""Fixtures of stage 1: extraction settings, made shards, hostile files, one Ray cluster a session."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data_specs.manifest import Item, Manifest, ManifestInfo, write_manifest
from data_specs.media import Limits, find_tool, run_tool
from tests.extract.runs import HOSTILE, extract, settings_for


@pytest.fixture(scope="session")
def ten_shards(ten_videos: Path, ten_manifest_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten videos' shards, made in this process without interruption."""
    out = tmp_path_factory.mktemp("shards") / "calm"
    extract(ten_manifest_path, settings_for(ten_videos, out))
    return out


@pytest.fixture(scope="session")
def forty_manifest_path(ten_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten videos four times under other ids: work enough for something to happen meanwhile."""
    path = tmp_path_factory.mktemp("manifest") / "forty.parquet"
    items = [replace(item, id=f"{item.id} {turn}", split="train") for turn in range(4) for item in ten_manifest]
    write_manifest(path, items, ManifestInfo("msrvtt", "four times"))
    return path


@pytest.fixture(scope="session")
def forty_shards(ten_videos: Path, forty_manifest_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their shards, four items each, made in this process without interruption."""
    out = tmp_path_factory.mktemp("shards") / "forty"
    extract(forty_manifest_path, settings_for(ten_videos, out))
    return out


@pytest.fixture(scope="session")
def hostile(ten_videos: Path, ten_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Media root and manifest of the ten videos with five files among them that are none."""
    root = tmp_path_factory.mktemp("hostile")
    shutil.copytree(ten_videos / "videos", root / "videos")
    bad = root / "bad"
    bad.mkdir()
    (bad / "empty.mp4").touch()
    (bad / "text.mp4").write_text("This is a text, and no video at all.\n" * 20)
    whole = (ten_videos / "videos" / "all" / "video0.mp4").read_bytes()
    (bad / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    tone = [str(find_tool("ffmpeg")), "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac"]
    run_tool([*tone, str(bad / "audio.mp4")], Limits())
    items = list(ten_manifest)
    for place, (identifier, (path, _)) in enumerate(HOSTILE.items()):
        items.insert(2 * place, Item(id=identifier, path=path, split="train", captions=("nothing",)))
    manifest = root / "hostile.parquet"
    write_manifest(manifest, items, ManifestInfo("msrvtt", "1k-A"))
    return root, manifest
