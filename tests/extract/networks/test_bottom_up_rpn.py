"""Proposals in the Caffe convention: against the slow reference on made RPN outputs, and at exact ties by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from extract.networks.bottom_up_rpn import classical_anchors, clip, decode, large_enough, objectness, propose
from extract.presets import BottomUpSettings
from tests.extract.networks import bottom_up_reference as reference
from tests.extract.networks.bottom_up_reference import Network, Quirks
from tests.extract.networks.test_bottom_up import WHERE

NETWORK = Network(candidates=40, proposals=38, min_side=25.0)
SETTINGS = BottomUpSettings(candidates=40, proposals=38, min_side=25.0)
SIZE, SCALE = (96, 130), 0.64


def made_outputs(seed: int, frames: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and deltas on a 6 x 9 map and 12 small anchors; the first is one pixel and sometimes grows hugely."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((frames, 24, 6, 9), generator=generator)
    deltas = 0.15 * torch.randn((frames, 48, 6, 9), generator=generator)
    deltas[:, 2:4] += 6 * (torch.rand((frames, 1, 6, 9), generator=generator) > 0.6)
    sides = 20 + 12 * torch.rand((12, 2), generator=generator)
    sides[0] = 0
    return logits, deltas, torch.cat([8 - sides / 2, 8 + sides / 2], dim=1)


def by_reference(outputs: tuple[Tensor, Tensor, Tensor], quirks: Quirks) -> np.ndarray:
    logits, deltas, anchors = outputs
    return reference.proposed(logits, deltas, anchors.numpy(), SIZE, SCALE, NETWORK, quirks)


def ours(outputs: tuple[Tensor, Tensor, Tensor]) -> list[np.ndarray]:
    return [boxes.numpy() for boxes in propose(*outputs, SIZE, SCALE, SETTINGS)]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_proposals_equal_the_reference(seed: int) -> None:
    outputs = made_outputs(seed, frames=2)
    for number, boxes in enumerate(ours(outputs)):
        one = (*(part[number : number + 1] for part in outputs[:2]), outputs[2])
        assert same(boxes, by_reference(one, Quirks()))


PROPOSING = (
    "softmax_over_halves",
    "pixel_in_decode",
    "clamped_delta",
    "pixel_in_clip",
    "pixel_in_min_side",
    "min_side_scales",
    "top_candidates",
    "pixel_in_nms",
    "top_proposals",
)


@pytest.mark.parametrize("quirk", PROPOSING)
def test_without_a_quirk_the_proposals_differ(quirk: str) -> None:
    """In at least one of six made outputs; with it none differs, see above."""
    off = replace(Quirks(), **{quirk: False})
    assert not all(same(ours(outputs)[0], by_reference(outputs, off)) for outputs in map(made_outputs, range(6)))


def at_one_cell(boxes: list[list[float]], scores: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """RPN outputs on a map of one cell whose decoded boxes are these, exactly."""
    logits = torch.cat([torch.zeros(len(boxes)), torch.tensor(scores)]).view(1, -1, 1, 1)
    return logits, torch.zeros(1, 4 * len(boxes), 1, 1), decodable(boxes)


def decodable(boxes: list[list[float]]) -> Tensor:
    """Anchors whose own deltas of zero give the boxes: decoding counts a pixel in and does not take it out again."""
    corners = torch.tensor(boxes)
    return torch.cat([corners[:, :2], corners[:, 2:] - 1], dim=1)


def proposed(boxes: list[list[float]], settings: BottomUpSettings, scale: float = 1.0) -> list[list[float]]:
    outputs = at_one_cell(boxes, [float(-number) for number in range(len(boxes))])
    return propose(*outputs, (200, 200), scale, settings)[0].tolist()


def test_an_overlap_of_exactly_the_limit_suppresses() -> None:
    """Pixels 0 to 19 and 0 to 13 in a row: 14 / 20 = 0.7, in single precision too."""
    whole, part, less = [0.0, 0, 19, 19], [0.0, 0, 13, 19], [0.0, 0, 12, 19]
    assert proposed([whole, part], BottomUpSettings()) == [whole]
    assert proposed([whole, less], BottomUpSettings(min_side=10)) == [whole, less]
    quirks = replace(Quirks(), nms_is_inclusive=False)
    boxes = np.array([whole, part], np.float32)
    assert reference.suppressed(boxes, 0.7, Quirks()) == [0]
    assert reference.suppressed(boxes, 0.7, quirks) == [0, 1]


def test_the_side_must_be_larger_than_the_limit() -> None:
    """16 pixels are too few, 17 are enough; at scale 1.25 the limit is 20."""
    sixteen, seventeen = [0.0, 0, 15, 40], [50.0, 50, 66, 90]
    assert proposed([sixteen, seventeen], BottomUpSettings()) == [seventeen]
    assert proposed([sixteen, seventeen], BottomUpSettings(), scale=1.25) == []
    for box in (sixteen, seventeen):
        given = [np.float32(value) for value in box]
        assert reference.is_large_enough(given, 16, Quirks()) == bool(large_enough(torch.tensor(box), 16))
    off = replace(Quirks(), min_side_is_strict=False)
    assert reference.is_large_enough([np.float32(value) for value in sixteen], 16, off)


def test_decode_and_clip_by_hand() -> None:
    anchors = torch.tensor([[0.0, 0, 15, 31]])
    deltas = torch.tensor([0.5, 0.25, math.log(2), 9.0]).view(1, 4, 1, 1).expand(1, 4, 1, 2)
    (box, next_cell) = decode(deltas, anchors)[0]
    high = 32 * 1000 / 16  # exp(9) is clamped
    assert box.tolist() == pytest.approx([16 - 16, 24 - high / 2, 16 + 16, 24 + high / 2], rel=1e-6)
    assert next_cell.tolist() == pytest.approx([16, 24 - high / 2, 48, 24 + high / 2], rel=1e-6)
    assert clip(next_cell, (100, 40)).tolist() == [16, 0, 39, 99]


def test_the_second_half_of_the_logits_is_the_object() -> None:
    logits = torch.arange(24.0).view(1, 24, 1, 1)
    np.testing.assert_allclose(objectness(logits)[0], np.full(12, 1 / (1 + math.exp(-12))), rtol=1e-6)


def test_classical_anchors() -> None:
    """The first, fifth and last as ``generate_anchors`` of py-faster-rcnn prints them for scales 4, 8, 16, 32."""
    anchors = classical_anchors()
    assert anchors.shape == (12, 4)
    assert anchors[0].tolist() == [-38, -16, 53, 31]
    assert anchors[1].tolist() == [-84, -40, 99, 55]  # the well-known first row at scales 8, 16, 32
    assert anchors[4].tolist() == [-24, -24, 39, 39]
    assert anchors[11].tolist() == [-168, -344, 183, 359]
    np.testing.assert_array_equal(anchors, reference.classical_anchors())


def test_boxes_that_are_not_finite_are_no_proposals() -> None:
    logits, deltas, anchors = made_outputs(0)
    logits[0, 5, 2, 2], deltas[0, 3, 1, 1] = math.nan, math.nan
    (boxes,) = propose(logits, deltas, anchors, SIZE, SCALE, SETTINGS)
    assert torch.isfinite(boxes).all()
    assert len(boxes) > 20


def test_every_quirk_has_a_test() -> None:
    by_hand = {"min_side_is_strict", "nms_is_inclusive"}
    of_kept_regions = {"background_first", "no_attribute_first"}
    assert set(WHERE) | set(PROPOSING) | by_hand | of_kept_regions == set(Quirks.__dataclass_fields__)
