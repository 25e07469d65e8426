from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from data_specs.errors import InputError
from data_specs.media import Limits
from extract.detector import Detector
from extract.frames import sample_frames
from extract.presets import PRESETS, DetectorSettings, find_weights, load_preset, preset_names
from extract.shapes_detector import measure_recall


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.set_num_threads(1)
    return Detector(load_preset("shapes"))


def test_embedded_detector_recalls_what_it_states(detector: Detector) -> None:
    """At least 90 % on scenes that neither training nor the committed measurement has seen."""
    stated = json.loads((PRESETS / "shapes.recall.json").read_text())
    assert stated["sha256"] == detector.weights_sha256
    assert stated["recall"]["found"] >= 0.9
    assert measure_recall(detector, scenes=60, seed=4711).found >= 0.88


def test_committed_weights_are_small() -> None:
    assert find_weights(load_preset("shapes")).stat().st_size <= 6 << 20


def test_batch_gives_what_one_at_a_time_gives(detector: Detector, ten_videos: Path, ten_manifest) -> None:
    images = sample_frames(ten_videos, next(iter(ten_manifest)), 4, Limits()).images
    together = detector.detect(images, 30)
    for frame, image in enumerate(images):
        alone = detector.detect(image[None], 30)
        np.testing.assert_array_equal(alone.labels[0, :5], together.labels[frame, :5])
        np.testing.assert_allclose(alone.scores[0], together.scores[frame], atol=1e-5)
        np.testing.assert_allclose(alone.boxes[0, :5], together.boxes[frame, :5], atol=1e-5)
        np.testing.assert_allclose(alone.features[0, :5], together.features[frame, :5], rtol=2e-3, atol=2e-3)


def test_number_of_regions_is_honoured(detector: Detector, ten_videos: Path, ten_manifest) -> None:
    images = sample_frames(ten_videos, next(iter(ten_manifest)), 1, Limits()).images
    thirty, five, many = (detector.detect(images, regions) for regions in (30, 5, 100))
    assert thirty.features.shape == (1, 30, 512)
    np.testing.assert_array_equal(five.boxes[0], thirty.boxes[0, :5])
    assert 30 <= many.count[0] <= 60  # the proposals bound it; the rest is masked padding
    assert not many.features[0, many.count[0] :].any()


def test_unknown_names_say_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean shapes"):
        load_preset("shape")
    with pytest.raises(InputError, match="no such configuration file"):
        load_preset("nowhere.yaml")


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid(name: str) -> None:
    settings = load_preset(name)
    assert settings.name == name
    assert settings.weights_from


def test_absent_weights_say_where_they_come_from() -> None:
    with pytest.raises(InputError, match=r"not found in .*weights.*convert"):
        find_weights(load_preset("coco-r101-c4"))


def test_weights_of_another_hash_are_refused(tmp_path: Path) -> None:
    settings = load_preset("shapes").model_copy(update={"sha256": "0" * 64})
    with pytest.raises(InputError, match="SHA-256"):
        find_weights(settings)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = load_file(find_weights(load_preset("shapes")))
    state.pop("roi_heads.box_predictor.cls_score.bias")
    save_file(state, tmp_path / "cut.safetensors")
    settings = load_preset("shapes").model_copy(update={"weights": str(tmp_path / "cut.safetensors"), "sha256": ""})
    with pytest.raises(InputError, match=r"does not fit.*cls_score\.bias"):
        Detector(settings)


def test_zoo_models_go_through_the_same_door(tmp_path: Path) -> None:
    """A zoo C4 and a zoo FPN model, narrowed, with random weights: built, saved, loaded, run."""
    from detectron2.modeling import build_model

    from extract.faster_rcnn import build_config

    narrow = {
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
        "INPUT.MIN_SIZE_TEST": 96,
    }
    fpn = {"MODEL.FPN.OUT_CHANNELS": 16, "MODEL.ROI_BOX_HEAD.FC_DIM": 64, "MODEL.RPN.CONV_DIMS": [16]}
    for config, more, width in (("R_50_C4", {}, 128), ("R_50_FPN", fpn, 64)):
        settings = DetectorSettings(
            name="narrow",
            config=f"COCO-Detection/faster_rcnn_{config}_1x.yaml",
            overrides={**narrow, **{key: value for key, value in more.items() if key != "MODEL.RPN.CONV_DIMS"}},
            weights=str(tmp_path / f"{config}.safetensors"),
            feature_dim=width,
        )
        torch.manual_seed(0)
        save_file(build_model(build_config(settings, "cpu")).state_dict(), settings.weights)
        image = np.random.default_rng(0).integers(0, 255, (2, 96, 128, 3), dtype=np.uint8)
        found = Detector(settings).detect(image, 10)
        assert found.features.shape == (2, 10, width)
        assert found.count.tolist() == [10, 10]


@pytest.mark.parametrize("size", [(2, 1300), (1300, 2), (1, 1)])
def test_extreme_shapes_give_regions_or_none(detector: Detector, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, *size, 3), dtype=np.uint8)
    assert detector.detect(image, 30).features.shape == (1, 30, 512)


def test_a_config_outside_the_zoo_is_not_read(tmp_path: Path) -> None:
    evil = tmp_path / "evil.yaml"
    evil.write_text(f"MODEL: !!python/object/apply:os.mkdir ['{tmp_path / 'attacked'}']")
    settings = load_preset("shapes")
    for config in (str(evil), "../../../../../../../../../" + str(evil)):
        with pytest.raises(InputError, match="model zoo"):
            Detector(settings.model_copy(update={"config": config}))
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"feature_dim": 7}, "512 wide"),
        ({"classes": ("one", "two")}, "36 classes"),
        ({"config": "COCO-Detection/rpn_R_50_C4_1x.yaml", "overrides": {}}, "no RoI heads"),
        ({"config": "COCO-Detection/retinanet_R_50_FPN_1x.yaml", "overrides": {}}, "python/object"),
        ({"overrides": {"MODEL": {"META_ARCHITECTURE": "Nothing"}}}, "Nothing"),
    ],
)
def test_presets_that_do_not_fit_their_model(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Detector(load_preset("shapes").model_copy(update=changes))
