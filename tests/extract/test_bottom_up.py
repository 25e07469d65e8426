"""The "caffe" bottom-up-attention detectors against the slow reference written for these tests, stage by stage."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from data_specs.errors import InputError
from extract.bottom_up import BottomUp
from extract.bottom_up_network import BottomUpNetwork
from extract.detector import Detector
from extract.presets import BottomUpSettings, DetectorSettings, load_preset
from tests.extract import bottom_up_reference as reference
from tests.extract.bottom_up_reference import Network, Quirks, Stages, State

MEAN = (102.9801, 115.9465, 122.7717)
SMALL = Network(
    depth=50, width=8, classes=20, attributes=9, shorter=96, longer=160, candidates=150, proposals=20, min_side=12.0
)
SMALL_152 = replace(SMALL, depth=152, pre_activation=True)
PUBLISHED = Network(shorter=64, longer=107, candidates=200, proposals=6, min_side=4.0)


def mean_of(network: Network) -> tuple[float, float, float]:
    return (0, 0, 0) if network.pre_activation else MEAN


def settings_of(network: Network, weights: Path, **more: object) -> DetectorSettings:
    pre = network.pre_activation
    bottom_up = BottomUpSettings(
        depth=network.depth,
        width=network.width,
        num_classes=network.classes,
        num_attributes=network.attributes,
        shorter_side=network.shorter,
        longer_side=network.longer,
        candidates=network.candidates,
        proposals=network.proposals,
        min_side=network.min_side,
        pre_activation=pre,
        stride_in_1x1=not pre,
        res5_dilation=1 if pre else 2,
        pixel_mean=mean_of(network),
    )
    chosen = {"name": "made", "nms": 0.3, "boxes": "proposals", **more}
    return DetectorSettings(
        family="bottom-up-caffe",
        bottom_up=bottom_up,
        weights=str(weights),
        feature_dim=32 * network.width,
        **chosen,
    )


def make_weights(folder: Path, network: Network, seed: int = 0) -> tuple[State, Path]:
    state, path = reference.random_state(network, seed), folder / "made.safetensors"
    reference.balance(state, reference.detected(some_frames(1)[0], state, network, mean_of(network)).features)
    save_file(state, path)
    return state, path


def some_frames(count: int, height: int = 150, width: int = 203) -> NDArray[np.uint8]:
    """Blurred noise: structure at the scale of the anchors."""
    noise = np.random.default_rng(5).normal(0, 1, (count, 3, height // 8, width // 8))
    tensor = torch.nn.functional.interpolate(torch.from_numpy(noise), (height, width), mode="bicubic")
    return (tensor * 60 + 120).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


@torch.inference_mode()
def stages_of(model: BottomUp, frames: NDArray[np.uint8]) -> list[Stages]:
    """The detector's stages, all frames in one batch, then cut into frames."""
    network = model.network
    images, scale = model.prepare(frames)
    stem = network.backbone.stem(images)
    maps = network.roi_heads.shared(network.backbone(images))
    logits, deltas = network.proposal_generator.rpn_head(maps)
    proposals = model.propose(maps, images.shape[-2:], scale)
    counts = [len(boxes) for boxes in proposals]
    features = model.features(maps, proposals).split(counts)
    found = []
    for at, boxes in enumerate(proposals):
        pooled = model.pool(maps, torch.cat([torch.full((len(boxes), 1), float(at)), boxes], dim=1))
        classes, attributes = network.roi_heads.box_predictor(features[at])
        last = network.roi_heads.transform(pooled.clone())
        one = slice(at, at + 1)
        found.append(
            Stages(images[at], scale, stem[one], maps[one], logits[one], deltas[one], boxes.numpy(), pooled, last,
                   features[at], classes, attributes)
        )  # fmt: skip
    return found


def differing(ours: Stages, theirs: Stages, tolerance: float = 1e-4) -> list[str]:
    """Stages that differ in shape, or by more than ``tolerance`` of the stage's largest value."""
    wrong = []
    for field in fields(Stages):
        a, b = (np.asarray(getattr(stages, field.name), np.float64) for stages in (ours, theirs))
        if a.shape != b.shape or np.abs(a - b).max(initial=0) > tolerance * np.abs(b).max(initial=1e-9):
            wrong.append(field.name)
    return wrong


@pytest.fixture(scope="module", params=["r50", "r152"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, State, Path]:
    """A narrow network of each kind of block, with random weights in the published layout."""
    torch.set_num_threads(1)
    network = {"r50": SMALL, "r152": SMALL_152}[request.param]
    return network, *make_weights(tmp_path_factory.mktemp(request.param), network)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, BottomUp, Stages]:
    """The narrow R50, its state, and its stages for one frame."""
    torch.set_num_threads(1)
    state, path = make_weights(tmp_path_factory.mktemp("small"), SMALL)
    model = BottomUp(settings_of(SMALL, path), path, "cpu")
    return state, model, stages_of(model, some_frames(1))[0]


def test_stages_equal_the_reference(pair: tuple[Network, State, Path]) -> None:
    network, state, path = pair
    frames = some_frames(2)
    model = BottomUp(settings_of(network, path, rois_per_pass=16), path, "cpu")
    for frame, ours in zip(frames, stages_of(model, frames), strict=True):
        theirs = reference.detected(frame, state, network, mean_of(network))
        assert len(theirs.proposals) == network.proposals
        assert differing(ours, theirs) == []


def test_the_published_layout(tmp_path: Path) -> None:
    """R101 at its full width with 1,600 classes, on a small frame: all stages, then the kept regions."""
    state, path = make_weights(tmp_path, PUBLISHED)
    detector = Detector(settings_of(PUBLISHED, path))
    frames = some_frames(1, 96, 128)
    ours, theirs = stages_of(detector.network, frames)[0], reference.detected(frames[0], state, PUBLISHED, MEAN)
    assert differing(ours, theirs) == []
    regions = detector.detect(frames, 4)
    for at, (row, label, score, attribute, likely) in enumerate(reference.kept(theirs, 4, 0.3)):
        assert regions.labels[0, at] == label
        assert regions.scores[0, at] == pytest.approx(score, rel=1e-4)
        assert regions.attribute_labels is not None
        assert regions.attribute_labels[0, at] == attribute
        assert regions.attribute_scores is not None
        assert regions.attribute_scores[0, at] == pytest.approx(likely, rel=1e-4)
        box = theirs.proposals[row] / theirs.scale / np.array([128, 96, 128, 96])
        np.testing.assert_allclose(regions.boxes[0, at, :4], box, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(regions.features[0, at], theirs.features[row], rtol=2e-3, atol=1e-3)  # float16


@pytest.mark.parametrize(("preset", "depth", "pre"), [("bottom-up-r101", 101, False), ("bottom-up-r152", 152, True)])
def test_presets_have_the_published_layout(preset: str, depth: int, pre: bool) -> None:
    settings = load_preset(preset).bottom_up
    assert settings is not None
    network = BottomUpNetwork(settings)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    ours = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    assert ours == reference.layout(Network(depth=depth, pre_activation=pre))
    assert (settings.candidates, settings.proposals, settings.min_side, settings.rpn_nms) == (6000, 300, 16, 0.7)
    assert (settings.shorter_side, settings.longer_side) == (600, 1000)


def test_kept_regions_equal_the_reference(pair: tuple[Network, State, Path]) -> None:
    network, state, path = pair
    frames = some_frames(2)
    regions = Detector(settings_of(network, path)).detect(frames, 12)
    for number, frame in enumerate(frames):
        expected = reference.kept(reference.detected(frame, state, network, mean_of(network)), 12, 0.3)
        assert regions.count[number] == len(expected) > 3
        assert regions.attribute_labels is not None
        for at, (_, label, score, attribute, _) in enumerate(expected):
            assert (regions.labels[number, at], regions.attribute_labels[number, at]) == (label, attribute)
            assert regions.scores[number, at] == pytest.approx(score, rel=1e-4)


WHERE = {
    "blue_first": "image",
    "mean_before_resize": "image",
    "no_antialias": "image",
    "true_scale": "image",
    "ceil_pool": "stem",
    "unpadded_pool": "stem",
    "stride_in_1x1": "res4",
    "softmax_over_halves": "proposals",
    "anchors_from_file": "proposals",
    "pixel_in_decode": "proposals",
    "pixel_in_clip": "proposals",
    "top_proposals": "proposals",
    "roi_pool": "pooled",
    "dilated_res5": "res5",
    "embeds_background": "attributes",
}


@pytest.mark.parametrize(("quirk", "stage"), WHERE.items())
def test_without_a_quirk_the_stage_differs(small: tuple[State, BottomUp, Stages], quirk: str, stage: str) -> None:
    """The reference with that one quirk turned off: equal before the stage, different in it."""
    state, _, ours = small
    theirs = reference.detected(some_frames(1)[0], state, SMALL, MEAN, replace(Quirks(), **{quirk: False}))
    names = [field.name for field in fields(Stages)]
    wrong = differing(ours, theirs)
    assert wrong
    assert wrong[0] == stage
    assert names.index(wrong[0]) == min(names.index(name) for name in wrong)


@pytest.mark.parametrize("quirk", ["background_first", "no_attribute_first", "pixel_in_nms"])
def test_without_a_quirk_the_kept_regions_differ(small: tuple[State, BottomUp, Stages], quirk: str) -> None:
    _, model, ours = small
    regions = Detector(model.settings).detect(some_frames(1), 12)
    assert regions.attribute_labels is not None
    found = list(zip(regions.labels[0].tolist(), regions.attribute_labels[0].tolist(), strict=True))
    right, wrong = (
        [(label, attribute) for _, label, _, attribute, _ in reference.kept(ours, 12, 0.3, quirks)]
        for quirks in (Quirks(), replace(Quirks(), **{quirk: False}))
    )
    assert found[: len(right)] == right
    assert right != wrong


def test_the_image_is_what_opencv_makes() -> None:
    """Three pixels by hand: INTER_LINEAR of a ramp at scale 0.64, whose rounded size is not 0.64 of the ramp."""
    frame = np.repeat(np.arange(203, dtype=np.uint8)[None, :, None], 150, axis=0).repeat(3, axis=2)
    model = object.__new__(BottomUp)
    model.bottom_up = BottomUpSettings(shorter_side=96, longer_side=160)
    model.device, model.order = torch.device("cpu"), torch.contiguous_format
    image, scale = model.prepare(frame[None])
    assert (image.shape, scale) == ((1, 3, 96, 130), 0.64)
    for x in (0, 64, 128):
        assert image[0, 0, 5, x].item() == pytest.approx((x + 0.5) / 0.64 - 0.5 - MEAN[0], abs=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_frame_in_a_batch_is_the_frame_alone(small: tuple[State, BottomUp, Stages], channels_last: bool) -> None:
    """Everything the network finds, before it is rounded to half precision: equal to 1e-5."""
    frames = some_frames(3)
    detector = Detector(small[1].settings.model_copy(update={"channels_last": channels_last}))
    for together, frame in zip(detector.candidates(frames), frames, strict=True):
        (alone,) = detector.candidates(frame[None])
        for field in fields(alone):
            one, many = (getattr(found, field.name) for found in (alone, together))
            torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-5 * float(one.abs().max()))


@pytest.mark.parametrize("change", [{"rois_per_pass": 7}, {"channels_last": True}, {"batch": 1}])
def test_how_it_is_computed_moves_little(small: tuple[State, BottomUp, Stages], change: dict) -> None:
    settings, frames = small[1].settings, some_frames(2)
    plain, other = (Detector(s).detect(frames, 10) for s in (settings, settings.model_copy(update=change)))
    np.testing.assert_array_equal(plain.labels, other.labels)
    np.testing.assert_allclose(plain.scores, other.scores, rtol=1e-4)
    np.testing.assert_allclose(plain.features, other.features, rtol=1e-3, atol=1e-3)


def test_half_precision_stays_near(small: tuple[State, BottomUp, Stages]) -> None:
    """bf16 moves scores, so proposals may swap places: the features of given regions are compared."""
    _, model, ours = small
    boxes = [torch.from_numpy(ours.proposals)]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half = model.features(ours.res4, boxes)
        classes, attributes = model.network.roi_heads.box_predictor(half)
    assert half.dtype == classes.dtype == attributes.dtype == torch.float32
    error = (half - ours.features).abs().max() / ours.features.abs().max()
    assert 0 < error < 0.05
    regions = Detector(model.settings.model_copy(update={"amp": "bf16"})).detect(some_frames(2), 10)
    assert regions.count.tolist() == [10, 10]


def test_memory_is_bounded_by_the_regions_at_once(
    small: tuple[State, BottomUp, Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    """res5 never sees more than ``rois_per_pass`` maps, however many frames there are."""
    settings = small[1].settings.model_copy(update={"rois_per_pass": 16})
    model = BottomUp(settings, Path(settings.weights), "cpu")
    seen: list[int] = []
    whole = model.network.roi_heads.transform
    monkeypatch.setattr(model.network.roi_heads, "transform", lambda maps: seen.append(len(maps)) or whole(maps))
    with torch.inference_mode():
        found = model.candidates(some_frames(3))
    assert sum(seen) == sum(len(frame.boxes) for frame in found) == 60
    assert max(seen) == 16


def test_regions_are_padded_with_their_attributes(small: tuple[State, BottomUp, Stages]) -> None:
    """More regions wanted than proposals: the real ones are counted, the rest is masked."""
    regions = Detector(small[1].settings).detect(some_frames(2), 40)
    assert regions.attribute_labels is not None
    assert regions.attribute_scores is not None
    assert (regions.count <= SMALL.proposals).all()
    for frame, count in enumerate(regions.count):
        assert not regions.features[frame, count:].any()
        assert not regions.attribute_scores[frame, count:].any()
        assert (regions.attribute_labels[frame, count:] == -1).all()
    none = regions.attribute_labels == -1
    assert (regions.attribute_scores[none] == 0).all()
    assert (regions.attribute_scores[~none] > 0).all()


def test_the_reference_selection(small: tuple[State, BottomUp, Stages]) -> None:
    """Of the boxes at least 0.2 confident after suppression, those of the highest plain class score."""
    _, model, ours = small
    rule = {"selection": "reference", "min_boxes": 3, "max_boxes": 12, "min_confidence": 0.2}
    regions = Detector(model.settings.model_copy(update=rule)).detect(some_frames(1), 6)
    confidence = {row: score for row, _, score, *_ in reference.kept(ours, 20, 0.3)}
    rows = [row for row in range(len(ours.proposals)) if confidence.get(row, 0) >= 0.2]
    falling = sorted(range(len(ours.proposals)), key=lambda row: -confidence.get(row, 0))
    rows = falling[:3] if len(rows) < 3 else falling[:12] if len(rows) > 12 else rows
    plain = ours.classes[:, 1:]
    rows = sorted(rows, key=lambda row: -float(plain[row].max()))[:6]
    assert regions.count[0] == len(rows)
    assert regions.labels[0, : len(rows)].tolist() == plain[rows].argmax(dim=1).tolist()
    np.testing.assert_allclose(regions.scores[0, : len(rows)], plain[rows].max(dim=1).values, rtol=1e-5)


def test_files_that_do_not_fit_are_refused(small: tuple[State, BottomUp, Stages], tmp_path: Path) -> None:
    """Missing, unexpected and misshapen tensors in one line; counters of batches and the anchors may be absent."""
    state = dict(small[0])
    del state["proposal_generator.anchor_generator.cell_anchors.0"]
    state["backbone.stem.conv1.norm.num_batches_tracked"] = torch.tensor(1)
    save_file(state, tmp_path / "old.safetensors")
    model = BottomUp(settings_of(SMALL, tmp_path), tmp_path / "old.safetensors", "cpu")
    np.testing.assert_array_equal(model.network.proposal_generator.anchors, reference.classical_anchors())
    del state["roi_heads.res5.2.conv3.norm.running_var"]
    state["proposal_generator.rpn_head.conv.bias"], state["what.else"] = torch.zeros(256), torch.zeros(1)
    save_file(state, tmp_path / "wrong.safetensors")
    with pytest.raises(InputError, match=r"running_var; 1 unexpected: what\.else; 1 of another shape: .*conv\.bias"):
        BottomUp(settings_of(SMALL, tmp_path), tmp_path / "wrong.safetensors", "cpu")


@pytest.mark.parametrize("size", [(2, 300), (300, 2), (1, 1)])
def test_extreme_shapes(small: tuple[State, BottomUp, Stages], size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, *size, 3), dtype=np.uint8)
    assert Detector(small[1].settings).detect(image, 5).features.shape == (1, 5, 256)
