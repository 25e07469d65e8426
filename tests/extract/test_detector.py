from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from data_specs.configuration import build
from data_specs.errors import InputError
from data_specs.manifest import Manifest
from data_specs.media import Limits
from extract.detector import Detector
from extract.frames import sample_frames
from extract.networks.faster_rcnn import build_config, build_network
from extract.presets import PRESETS, DetectorSettings, find_weights, load_preset, preset_names
from extract.sampling import Sampling
from extract.shapes_detector import measure_recall

NARROW = {
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
    "INPUT.MIN_SIZE_TEST": 96,
}


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


def test_batch_gives_what_one_at_a_time_gives(detector: Detector, ten_videos: Path, ten_manifest: Manifest) -> None:
    """Before features are rounded to half precision everything is equal to 1e-5; after it, to their last place."""
    images = sample_frames(ten_videos, next(iter(ten_manifest)), Sampling(4), Limits()).images
    together, regions = detector.candidates(images), detector.detect(images, 30)
    for frame, image in enumerate(images):
        (alone,) = detector.candidates(image[None])
        for field in ("features_NV", "scores_NC", "boxes"):
            one, many = getattr(alone, field), getattr(together[frame], field)
            torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-5 * float(one.abs().max()))
        kept = detector.detect(image[None], 30)
        np.testing.assert_array_equal(kept.labels[0], regions.labels[frame])
        np.testing.assert_allclose(kept.scores[0], regions.scores[frame], atol=1e-5)
        np.testing.assert_allclose(kept.boxes[0], regions.boxes[frame], atol=1e-5)
        last_place = np.spacing(np.maximum(np.abs(kept.features[0]), np.float16(2**-6)))
        difference = np.abs(kept.features[0].astype(np.float32) - regions.features[frame].astype(np.float32))
        assert (difference <= last_place).all()


def test_number_of_regions_is_honoured(detector: Detector, ten_videos: Path, ten_manifest) -> None:
    images = sample_frames(ten_videos, next(iter(ten_manifest)), Sampling(1), Limits()).images
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
    state["roi_heads.box_predictor.cls_score.bias"], state["of.nothing"] = torch.zeros(5), torch.zeros(1)
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match=r"unexpected: of\.nothing; 1 of another shape: .*bias \[5\] for \[37\]"):
        Detector(settings)


def test_zoo_models_go_through_the_same_door(tmp_path: Path) -> None:
    """A zoo C4 and a zoo FPN model, narrowed, with random weights: built, saved, loaded, run."""
    fpn = {"MODEL.FPN.OUT_CHANNELS": 16, "MODEL.ROI_BOX_HEAD.FC_DIM": 64, "MODEL.RPN.CONV_DIMS": [16]}
    for config, more, width in (("R_50_C4", {}, 128), ("R_50_FPN", fpn, 64)):
        settings = DetectorSettings(
            name="narrow",
            config=f"COCO-Detection/faster_rcnn_{config}_1x.yaml",
            overrides={**NARROW, **{key: value for key, value in more.items() if key != "MODEL.RPN.CONV_DIMS"}},
            weights=str(tmp_path / f"{config}.safetensors"),
            feature_dim=width,
        )
        torch.manual_seed(0)
        save_file(build_network(settings, build_config(settings, "cpu")).state_dict(), settings.weights)
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


@pytest.fixture(scope="module")
def d2(tmp_path_factory: pytest.TempPathFactory) -> tuple[DetectorSettings, dict[str, torch.Tensor]]:
    """The preset bottom-up-d2-x152, narrowed, with random weights under the published names."""
    preset = load_preset("bottom-up-d2-x152")
    narrow = {**NARROW, "MODEL.RESNETS.NUM_GROUPS": 2, "MODEL.RESNETS.DEPTH": 50, "MODEL.ROI_HEADS.NUM_CLASSES": 30}
    path = tmp_path_factory.mktemp("d2") / "d2.safetensors"
    settings = preset.model_copy(
        update={"overrides": {**preset.overrides, **narrow}, "feature_dim": 128, "weights": str(path)}
    )
    torch.manual_seed(0)
    state = build_network(settings, build_config(settings, "cpu")).state_dict()
    state["roi_heads.box_predictor.cls_score.weight"] *= 30
    save_file(state, path)
    return settings, state


def test_the_attributes_of_the_d2_family(d2: tuple[DetectorSettings, dict[str, torch.Tensor]]) -> None:
    settings, state = d2
    image = np.random.default_rng(0).integers(0, 255, (2, 96, 128, 3), dtype=np.uint8)
    detector = Detector(settings.model_copy(update={"rois_per_pass": 7}))
    for found in detector.candidates(image):
        features, scores = found.features_NV, found.scores_NC
        background = 1 - scores.sum(dim=1, keepdim=True)
        label = torch.cat([scores, background], dim=1).argmax(dim=1)  # background has an embedding, the last
        part = {name: state[f"roi_heads.attribute_predictor.{name}"] for name in ATTRIBUTE_HEAD}
        joined = torch.cat([features, part["obj_embed.weight"][label]], dim=1)
        hidden = (joined @ part["fc.0.weight"].T + part["fc.0.bias"]).clamp(min=0)
        expected = (hidden @ part["attr_score.weight"].T + part["attr_score.bias"]).softmax(dim=1).max(dim=1)
        torch.testing.assert_close(found.attribute_labels_N, expected.indices)
        torch.testing.assert_close(found.attribute_scores_N, expected.values)
    regions = detector.detect(image, 10)
    assert regions.attribute_labels is not None
    assert regions.count.tolist() == [10, 10]
    assert (regions.attribute_labels >= 0).all()


ATTRIBUTE_HEAD = {
    "obj_embed.weight": (1601, 256),
    "fc.0.weight": (512, 2304),
    "fc.0.bias": (512,),
    "attr_score.weight": (400, 512),
    "attr_score.bias": (400,),
}


@pytest.mark.parametrize(("name", "blocks"), [("r50", 6), ("r101", 23), ("x152", 36)])
def test_d2_presets_have_the_published_layout(name: str, blocks: int) -> None:
    settings = load_preset(f"bottom-up-d2-{name}")
    config = build_config(settings, "cpu")
    state = build_network(settings, build_config(settings, "meta")).state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    for key, shape in ATTRIBUTE_HEAD.items():
        assert shapes[f"roi_heads.attribute_predictor.{key}"] == shape
    assert shapes["roi_heads.box_predictor.cls_score.weight"] == (1601, 2048)
    assert len([key for key in shapes if key.startswith("backbone.res4") and key.endswith("conv1.weight")]) == blocks
    wide = name == "x152"
    assert shapes["backbone.res2.0.conv2.weight"] == ((256, 8, 3, 3) if wide else (64, 64, 3, 3))
    assert config.MODEL.RESNETS.STRIDE_IN_1X1 is not wide
    assert config.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO == 2
    assert (config.MODEL.RPN.PRE_NMS_TOPK_TEST, config.MODEL.RPN.POST_NMS_TOPK_TEST) == (6000, 1000)


def test_regressed_boxes_or_proposals(d2: tuple[DetectorSettings, dict[str, torch.Tensor]]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 96, 128, 3), dtype=np.uint8)
    shapes = {
        boxes: Detector(d2[0].model_copy(update={"boxes": boxes})).candidates(image)[0].boxes.shape
        for boxes in ("proposals", "regressed")
    }
    assert shapes == {"proposals": (20, 1, 4), "regressed": (20, 30, 4)}


def test_half_precision_on_a_cpu(detector: Detector, ten_videos: Path, ten_manifest: Manifest) -> None:
    """bf16 finds the same confident objects; fp16 needs a GPU."""
    images = sample_frames(ten_videos, next(iter(ten_manifest)), Sampling(2), Limits()).images
    half = Detector(load_preset("shapes").model_copy(update={"amp": "bf16"})).detect(images, 3)
    whole = detector.detect(images, 3)
    assert set(half.labels[0].tolist()) == set(whole.labels[0].tolist())
    assert 0 < np.abs(half.scores - whole.scores).max() < 0.2
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        Detector(load_preset("shapes").model_copy(update={"amp": "fp16"}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "bottom-up-caffe"}, "takes bottom_up"),
        ({"config": ""}, "takes config"),
        ({"selection": "reference"}, "of family bottom-up-caffe"),
        ({"min_boxes": 11, "max_boxes": 10}, "min_boxes 11 is above max_boxes 10"),
        ({"famly": "detectron2"}, "did you mean family"),
    ],
)
def test_presets_that_contradict_themselves(changes: dict, said: str) -> None:
    tree = load_preset("shapes").model_dump() | changes
    with pytest.raises(InputError, match=said):
        build(DetectorSettings, tree, "detector shapes")


def test_names_come_from_files_beside_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONVLP_WEIGHTS", str(tmp_path / "elsewhere"))
    assert load_preset("bottom-up-r101").classes == ()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "objects_vocab.txt").write_text("yolk\ngoal,net\n\nbathroom\n")
    assert load_preset("bottom-up-r101").classes == ("yolk", "goal", "bathroom")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "objects_vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"objects_vocab\.txt: names cannot be read"):
        load_preset("bottom-up-r101")


def test_names_that_do_not_fit_the_network(d2: tuple[DetectorSettings, dict[str, torch.Tensor]]) -> None:
    folder = Path(d2[0].weights).parent
    (folder / "three.txt").write_text("red\ngreen\nblue\n")
    with pytest.raises(InputError, match="knows 400 attributes, 3 are named"):
        Detector(d2[0].model_copy(update={"attributes_file": "three.txt"}))
    with pytest.raises(InputError, match="knows 30 classes, 2 are named"):
        Detector(d2[0].model_copy(update={"classes": ("one", "two")}))


def test_no_proposal_is_no_region(d2: tuple[DetectorSettings, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    settings, state = d2
    broken = {**state, "proposal_generator.rpn_head.anchor_deltas.bias": torch.full((60,), float("nan"))}
    save_file(broken, tmp_path / "broken.safetensors")
    image = np.zeros((2, 96, 128, 3), np.uint8)
    regions = Detector(settings.model_copy(update={"weights": str(tmp_path / "broken.safetensors")})).detect(image, 5)
    assert regions.count.tolist() == [0, 0]
