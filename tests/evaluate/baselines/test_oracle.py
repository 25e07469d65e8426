"""The oracle knows what is true of the clips, and nothing of which of two it is true of both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data_specs.build import build_manifest
from data_specs.shapes.captions import captions_of
from data_specs.shapes.generate import RECORD, generate, read_clips
from evaluate.__main__ import main


@pytest.fixture(scope="module", params=[True, False], ids=["families", "others"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of both kinds: what is said of a family's is true of one clip, what is said of others often of several."""
    folder = tmp_path_factory.mktemp("oracle")
    splits = {"train": 4, "val": 4, "test": 16}
    generate(folder / "data", 24, 5, splits=splits, layout="native", families=request.param, workers=2)
    build_manifest("shapes", folder / "data", folder / "m.parquet")
    return folder


def asked(folder: Path, out: Path, *more: str):
    given = ["--root", str(folder / "data"), "--manifest", str(folder / "m.parquet"), "--out", str(out)]
    return CliRunner().invoke(main, ["oracle", *given, *more])


def expected(folder: Path, count: int) -> float:
    """R@1 where a caption is as likely to find any clip of which it is true."""
    clips, kin = read_clips(folder / "data")
    scenes = [clip.scene for clip in clips if clip.scene.split == "test"]
    said = [caption for scene in scenes for caption in captions_of(scene, count, kin)]
    found = 100 * float(np.mean([1 / sum(caption.holds(other) for other in scenes) for caption in said]))
    assert count == 1 or (found == 100) is kin
    return found


def test_ties_are_the_only_thing_it_gets_wrong(made: Path, tmp_path: Path) -> None:
    result = asked(made, tmp_path)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "oracle.json").read_text())
    assert found["retrieval"]["text_to_video"]["figures"]["R@1"] == pytest.approx(expected(made, 1))
    assert found["multiple_choice"] == found["question_answering"] == 100.0
    assert found["videos"] == 16


def test_all_captions_may_ask(made: Path, tmp_path: Path) -> None:
    assert asked(made, tmp_path, "--queries", "all").exit_code == 0
    found = json.loads((tmp_path / "oracle.json").read_text())["retrieval"]["text_to_video"]
    assert found["queries"] == 16 * 8 and found["figures"]["R@1"] == pytest.approx(expected(made, 8))


def test_another_manifest_or_folder_is_refused(made: Path, tmp_path: Path) -> None:
    generate(tmp_path / "data", 24, 6, splits={"train": 4, "val": 4, "test": 16}, families=True, workers=2)
    (tmp_path / "m.parquet").write_bytes((made / "m.parquet").read_bytes())
    other = asked(tmp_path, tmp_path / "out")
    assert other.exit_code == 2 and "is no caption that was made for it" in other.output
    (tmp_path / "data" / RECORD).unlink()
    none = asked(tmp_path, tmp_path / "out")
    assert none.exit_code == 2 and "make-shapes wrote" in none.output
