"""The "caffe" bottom-up-attention detectors as a whole: batches, precision, memory, padding, files that do not fit."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data_specs.errors import InputError
from extract.detector import Detector
from extract.networks.bottom_up import BottomUp
from tests.extract.networks import bottom_up_reference as reference
from tests.extract.networks.bottom_up_made import SMALL, make_weights, settings_of, some_frames, stages_of
from tests.extract.networks.bottom_up_reference import Stages, State


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, BottomUp, Stages]:
    """The narrow R50, its state, and its stages for one frame."""
    torch.set_num_threads(1)
    state, path = make_weights(tmp_path_factory.mktemp("small"), SMALL)
    model = BottomUp(settings_of(SMALL, path), path, "cpu")
    return state, model, stages_of(model, some_frames(1))[0]


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
