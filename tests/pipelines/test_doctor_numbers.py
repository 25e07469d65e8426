"""What the doctor predicts: bytes as they come out, hours from a measured sample, devices as torch has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from data_specs.manifest import Item, Question
from extract.cost import Measured, duration, predict
from extract.presets import load_preset
from extract.settings import make_settings
from pipelines.doctor.disk import sample_bytes
from tests.pipelines.pages import Page

Doctor = Callable[..., Page]
TAR_END, TAR_RECORD = 1024, 10240


def test_bytes_of_a_sample_are_those_of_its_shard(
    tmp_path: Path, make_shard: Callable[..., Path], write_detector: Callable[..., str]
) -> None:
    question = Question("what moves", "ring", "what", ("ring", "star"), 0, "q1")
    items = [
        Item("video 1", "1.mp4", "train", captions=("a ring",) * 40, questions=(question,)),
        Item("ü/2", "2.mp4", "train", captions=("ein Würfel",)),
    ]
    folder = make_shard(tmp_path / "shards", items, frames=8, regions=30, width=512)
    options = {"root": tmp_path, "out": tmp_path, "frames": 8, "regions": 30}
    settings = make_settings(write_detector(), (), **options)
    predicted = sum(sample_bytes(settings, item) for item in items) + TAR_END
    assert (folder / "train-00000.tar").stat().st_size == -(-predicted // TAR_RECORD) * TAR_RECORD


def test_prediction_in_closed_form() -> None:
    each = Measured(decoding_s=1.0, detecting_s=3.0, decoding_cpu_s=1.0, bytes=0)
    assert predict(each, 100, workers=1, cores=64, device="cpu") == pytest.approx(300)  # decoding is hidden
    assert predict(each, 100, workers=4, cores=64, device="cpu") == pytest.approx(75)
    assert predict(each, 100, workers=4, cores=2, device="cpu") == pytest.approx(200)  # 400 s of work on 2 cores
    assert predict(each, 100, workers=1, cores=1, device="cuda") == pytest.approx(300)
    assert predict(Measured(3.0, 1.0, 3.0, 0), 100, workers=2, cores=64, device="cuda:0") == pytest.approx(150)
    assert [duration(s) for s in (59.6, 600, 36_000)] == ["60 seconds", "10 minutes", "10.0 hours"]


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights of the shapes detector before any training."""
    from detectron2.modeling import build_model
    from safetensors.torch import save_file

    from extract.networks.faster_rcnn import build_config

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    state = build_model(build_config(load_preset("shapes"), "cpu")).state_dict()
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    return path.read_bytes()


def test_hours_are_measured(
    doctor_extract: Doctor, ten_videos: Path, write_detector: Callable[..., str], random_weights: bytes
) -> None:
    page = doctor_extract(ten_videos, f"detector={write_detector(random_weights)}", "frames=2", quick=False)
    assert page.failures() == []
    (found,) = page.of("hours")
    assert "10 items on 1 workers" in found["found"]
    assert "measured on 4" in found["found"]


def test_a_video_that_does_not_decode_is_found_by_measuring(
    doctor_extract: Doctor, ten_copied: Path, write_detector: Callable[..., str], random_weights: bytes
) -> None:
    for video in (ten_copied / "videos" / "all").iterdir():
        video.write_text("no video at all\n" * 20)
    page = doctor_extract(ten_copied, f"detector={write_detector(random_weights)}", quick=False)
    assert page.exit_code == 1
    assert {title for title, _ in page.failures()} == {"hours"}
    assert len(page.failures()) == 4
    assert "gives no frames: not_media" in page.failures()[0][1]


def test_weights_that_do_not_fit_are_found_by_measuring(
    doctor_extract: Doctor, ten_videos: Path, write_detector: Callable[..., str]
) -> None:
    said = doctor_extract(ten_videos, f"detector={write_detector(b'no tensors')}", quick=False).fails_only_in("hours")
    assert "not a safetensors file" in said


def test_a_device_that_is_not_there(doctor_extract: Doctor, ten_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = doctor_extract(ten_videos, "device=cuda").fails_only_in("devices")
    assert "step 'extract' asks for cuda, and torch finds 0 CUDA devices" in said
    assert "--set device=cpu" in said
    assert "no device" in doctor_extract(ten_videos, "device=gpu").fails_only_in("devices")


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """``one_gpu(major, minor)``: torch seems to have one CUDA device of that compute capability."""

    def pretend(major: int, minor: int) -> None:
        properties = SimpleNamespace(name="Pretended", major=major, minor=minor, total_memory=16 * 10**9)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90a"])

    return pretend


def test_a_device_that_is_there(doctor_extract: Doctor, ten_videos: Path, one_gpu: Callable[..., None]) -> None:
    one_gpu(9, 0)
    page = doctor_extract(ten_videos, "device=cuda")
    assert page.exit_code == 0
    assert page.of("devices")[0]["found"] == "cuda:0: Pretended, 16 GB, compute capability 9.0, bf16"
    assert doctor_extract(ten_videos).of("devices", "warning")[0]["way_out"] == "--set device=cuda"
    said = doctor_extract(ten_videos, "device=cuda", "workers=2").fails_only_in("devices")
    assert "2 workers take a CUDA device each, there are 1" in said


def test_a_device_that_torch_has_no_code_for(
    doctor_extract: Doctor, ten_videos: Path, one_gpu: Callable[..., None]
) -> None:
    one_gpu(6, 1)
    said = doctor_extract(ten_videos, "device=cuda").fails_only_in("devices")
    assert "compute capability 6.1, no bf16" in said
    assert "has no code for it" in said
