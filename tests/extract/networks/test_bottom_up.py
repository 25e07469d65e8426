"""The "caffe" bottom-up-attention detectors against the slow reference written for these tests, stage by stage."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from extract.detector import Detector
from extract.networks.bottom_up import BottomUp
from extract.networks.bottom_up_network import BottomUpNetwork
from extract.presets import BottomUpSettings, load_preset
from tests.extract.networks import bottom_up_reference as reference
from tests.extract.networks.bottom_up_made import (
    MEAN,
    PUBLISHED,
    SMALL,
    SMALL_152,
    differing,
    make_weights,
    mean_of,
    settings_of,
    some_frames,
    stages_of,
)
from tests.extract.networks.bottom_up_reference import Network, Quirks, Stages, State


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
