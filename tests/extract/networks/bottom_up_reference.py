"""The "caffe" bottom-up-attention detectors once more, slowly: one frame, plain loops, straight from their description.

Written for the tests and from the words alone; it shares no code with ``extract``. Every peculiarity is a switch of
``Quirks``: the tests turn them off one by one and see that the detector then differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

State = dict[str, Tensor]
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True)
class Quirks:
    """What these networks do and others do not; all true is the published behaviour."""

    blue_first: bool = True
    mean_before_resize: bool = True
    no_antialias: bool = True
    true_scale: bool = True
    ceil_pool: bool = True
    unpadded_pool: bool = True
    stride_in_1x1: bool = True
    softmax_over_halves: bool = True
    anchors_from_file: bool = True
    pixel_in_decode: bool = True
    clamped_delta: bool = True
    pixel_in_clip: bool = True
    pixel_in_min_side: bool = True
    min_side_is_strict: bool = True
    min_side_scales: bool = True
    top_candidates: bool = True
    pixel_in_nms: bool = True
    nms_is_inclusive: bool = True
    top_proposals: bool = True
    roi_pool: bool = True
    dilated_res5: bool = True
    background_first: bool = True
    embeds_background: bool = True
    no_attribute_first: bool = True


@dataclass(frozen=True)
class Network:
    """The numbers of one network; see ``extract.presets.BottomUpSettings`` for what they mean."""

    depth: int = 101
    width: int = 64
    classes: int = 1600
    attributes: int = 400
    shorter: int = 600
    longer: int = 1000
    candidates: int = 6000
    proposals: int = 300
    min_side: float = 16.0
    pre_activation: bool = False


@dataclass
class Stages:
    """Everything on the way, of one frame."""

    image: Tensor
    scale: float
    stem: Tensor
    res4: Tensor
    logits: Tensor
    deltas: Tensor
    proposals: np.ndarray
    pooled: Tensor
    res5: Tensor
    features: Tensor
    classes: Tensor
    attributes: Tensor


def layout(network: Network, anchors: int = 12) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published file's state dict, without the counters of batches."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})

    def conv(name: str, outputs: int, inputs: int, kernel: int, normalised: int) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
        if normalised:
            norm(f"{name}.norm", normalised)

    def stage(name: str, count: int, inputs: int, outputs: int) -> None:
        middle, pre = outputs // 4, network.pre_activation
        for number in range(count):
            block, taken = f"{name}.{number}", inputs if number == 0 else outputs
            if pre:
                norm(f"{block}.norm", taken)
            if number == 0:
                conv(f"{block}.shortcut", outputs, taken, 1, 0 if pre else outputs)
            conv(f"{block}.conv1", middle, taken, 1, 0 if pre else middle)
            conv(f"{block}.conv2", middle, middle, 3, middle)
            conv(f"{block}.conv3", outputs, middle, 1, middle if pre else outputs)

    width = network.width
    if network.pre_activation:
        norm("backbone.stem.norm", 3)
    conv("backbone.stem.conv1", width, 3, 7, width)
    for number, name in enumerate(("backbone.res2", "backbone.res3", "backbone.res4", "roi_heads.res5")):
        stage(name, BLOCKS[network.depth][number], width if number == 0 else 2 * width << number, 4 * width << number)
    features = 32 * width
    if network.pre_activation:
        norm("roi_heads.res5_bn", features)
    head, predictor = "proposal_generator.rpn_head", "roi_heads.box_predictor"
    for name, outputs, inputs, kernel in (
        (f"{head}.conv", 512, 16 * width, 3),
        (f"{head}.objectness_logits", 2 * anchors, 512, 1),
        (f"{head}.anchor_deltas", 4 * anchors, 512, 1),
    ):
        shapes |= {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}
    shapes["proposal_generator.anchor_generator.cell_anchors.0"] = (anchors, 4)
    for name, outputs, inputs in (
        ("cls_score", network.classes + 1, features),
        ("bbox_pred", 4 * (network.classes + 1), features),
        ("attr_linear1", 512, features + 256),
        ("attr_linear2", network.attributes + 1, 512),
    ):
        shapes |= {f"{predictor}.{name}.weight": (outputs, inputs), f"{predictor}.{name}.bias": (outputs,)}
    shapes[f"{predictor}.cls_embed.weight"] = (network.classes + 1, 256)
    return shapes


def random_state(network: Network, seed: int) -> State:
    """Random weights and random batch-norm statistics that keep the activations in range, in the published layout."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    first = "backbone.stem.norm" if network.pre_activation else "backbone.stem.conv1.norm"
    residual = 0.6 * math.sqrt(6 / BLOCKS[network.depth][2])  # deeper networks add up more
    gains = {
        "conv3": 0.4 if network.pre_activation else 1.4,
        "objectness": 0.15,
        "anchor_deltas": 0.05,
        "cls_score": 2.5,
    }
    for name, shape in layout(network).items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("running_var"):
            state[name] = (0.5 + noise.abs()) * (60**2 if name.startswith(first) else 1)
        elif name.endswith(("running_mean", "bias")):
            state[name] = 0.2 * noise
        elif len(shape) == 1:
            last = ("conv3.norm" in name and not network.pre_activation) or "shortcut" in name
            state[name] = (residual if last else 1.0) * (1 + 0.2 * noise)
        elif name.endswith("cell_anchors.0"):
            centre, sides = 8 + 2 * noise[:, :2], 8 + 60 * torch.rand(len(noise), 2, generator=generator)
            state[name] = torch.cat([centre - sides / 2, centre + sides / 2], dim=1)
        elif name.endswith("cls_embed.weight"):
            state[name] = noise
        else:
            gain = next((gain for part, gain in gains.items() if part in name), 1.4)
            state[name] = gain * noise / math.sqrt(noise[0].numel())
    return state


def balance(state: State, features: Tensor) -> None:
    """Moves the biases of the heads, so that the regions with these features differ in class and attribute."""
    name = "roi_heads.box_predictor"
    logits = features @ state[f"{name}.cls_score.weight"].T
    state[f"{name}.cls_score.weight"] /= logits.std(dim=0).mean()
    state[f"{name}.cls_score.bias"] = -logits.mean(dim=0) / logits.std(dim=0).mean()
    state[f"{name}.cls_score.bias"][0] += 1
    weight = state[f"{name}.attr_linear1.weight"][:, : features.shape[1]]
    state[f"{name}.attr_linear1.bias"] = -(features @ weight.T).mean(dim=0)
    state[f"{name}.attr_linear2.bias"][0] += 1


def classical_anchors() -> np.ndarray:
    """Classical Faster R-CNN: base 16, ratios 0.5, 1, 2 with sides rounded to whole pixels, scales 4, 8, 16, 32."""
    found = []
    for ratio in (0.5, 1.0, 2.0):
        width = round(math.sqrt(16 * 16 / ratio))
        height = round(width * ratio)
        for scale in (4, 8, 16, 32):
            w, h = width * scale, height * scale
            found.append([7.5 - (w - 1) / 2, 7.5 - (h - 1) / 2, 7.5 + (w - 1) / 2, 7.5 + (h - 1) / 2])
    return np.array(found, np.float32)


def prepared(frame: np.ndarray, mean: tuple[float, ...], network: Network, quirks: Quirks) -> tuple[Tensor, float]:
    """uint8 [H, W, 3] RGB -> [3, h, w] and the scale."""
    height, width = frame.shape[:2]
    scale = network.shorter / min(height, width)
    if round(scale * max(height, width)) > network.longer:
        scale = network.longer / max(height, width)
    sides = round(height * scale), round(width * scale)
    image = frame[:, :, ::-1] if quirks.blue_first else frame
    image = image.astype(np.float64) - (np.array(mean) if quirks.mean_before_resize else 0)
    if not quirks.no_antialias:
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        image = F.interpolate(tensor, sides, mode="bilinear", antialias=True)[0].permute(1, 2, 0).double().numpy()
    else:
        ratios = (scale, scale) if quirks.true_scale else (sides[0] / height, sides[1] / width)
        for axis in (0, 1):
            length = image.shape[axis]
            source = (np.arange(sides[axis]) + 0.5) / ratios[axis] - 0.5
            source = np.clip(source, 0, length - 1)
            before = np.floor(source).astype(int)
            after = np.minimum(before + 1, length - 1)
            part = (source - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            image = image.take(before, axis) * (1 - part) + image.take(after, axis) * part
    if not quirks.mean_before_resize:
        image = np.round(image) - np.array(mean)  # as an image of bytes would have it
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float(), scale


def normalised(x: Tensor, state: State, name: str, epsilon: float) -> Tensor:
    def column(part: str) -> Tensor:
        return state[f"{name}.{part}"][None, :, None, None]

    return (x - column("running_mean")) / torch.sqrt(column("running_var") + epsilon) * column("weight") + column(
        "bias"
    )


def stem(image: Tensor, state: State, network: Network, quirks: Quirks) -> Tensor:
    epsilon = 2e-5 if network.pre_activation else 1e-5
    x = image[None]
    if network.pre_activation:
        x = normalised(x, state, "backbone.stem.norm", epsilon)
    x = F.conv2d(x, state["backbone.stem.conv1.weight"], stride=2, padding=3)
    x = normalised(x, state, "backbone.stem.conv1.norm", epsilon).clamp(min=0)
    if not quirks.unpadded_pool:
        x = F.pad(x, (1, 1, 1, 1), value=-math.inf)
    height, width = x.shape[2:]
    rounded = math.ceil if quirks.ceil_pool else math.floor
    sides = [rounded((side - 3) / 2) + 1 for side in (height, width)]
    out = torch.empty(1, x.shape[1], *sides)
    for row in range(sides[0]):
        for column in range(sides[1]):
            out[:, :, row, column] = x[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3].amax(dim=(2, 3))
    return out


def block(x: Tensor, state: State, name: str, stride: int, dilation: int, network: Network, quirks: Quirks) -> Tensor:
    in_1x1 = quirks.stride_in_1x1 and not network.pre_activation
    first, second = (stride, 1) if in_1x1 else (1, stride)
    if network.pre_activation:
        return pre_activated(x, state, name, stride, dilation)
    out = F.conv2d(x, state[f"{name}.conv1.weight"], stride=first)
    out = normalised(out, state, f"{name}.conv1.norm", 1e-5).clamp(min=0)
    out = F.conv2d(out, state[f"{name}.conv2.weight"], stride=second, padding=dilation, dilation=dilation)
    out = normalised(out, state, f"{name}.conv2.norm", 1e-5).clamp(min=0)
    out = normalised(F.conv2d(out, state[f"{name}.conv3.weight"]), state, f"{name}.conv3.norm", 1e-5)
    if f"{name}.shortcut.weight" in state:
        x = F.conv2d(x, state[f"{name}.shortcut.weight"], stride=stride)
        x = normalised(x, state, f"{name}.shortcut.norm", 1e-5)
    return (out + x).clamp(min=0)


def pre_activated(x: Tensor, state: State, name: str, stride: int, dilation: int, activate: bool = True) -> Tensor:
    ready = normalised(x, state, f"{name}.norm", 2e-5).clamp(min=0) if activate else x
    out = F.conv2d(ready, state[f"{name}.conv1.weight"])
    out = normalised(out, state, f"{name}.conv2.norm", 2e-5).clamp(min=0)
    out = F.conv2d(out, state[f"{name}.conv2.weight"], stride=stride, padding=dilation, dilation=dilation)
    out = normalised(out, state, f"{name}.conv3.norm", 2e-5).clamp(min=0)
    out = F.conv2d(out, state[f"{name}.conv3.weight"])
    if f"{name}.shortcut.weight" in state:
        x = F.conv2d(ready, state[f"{name}.shortcut.weight"], stride=stride)
    return out + x


def backbone(stemmed: Tensor, state: State, network: Network, quirks: Quirks) -> Tensor:
    x = stemmed
    for number, name in enumerate(("res2", "res3", "res4")):
        for at in range(BLOCKS[network.depth][number]):
            stride = 2 if at == 0 and number > 0 else 1
            x = block(x, state, f"backbone.{name}.{at}", stride, 1, network, quirks)
    return x


def rpn(res4: Tensor, state: State) -> tuple[Tensor, Tensor]:
    def conv(x: Tensor, name: str, padding: int) -> Tensor:
        full = f"proposal_generator.rpn_head.{name}"
        return F.conv2d(x, state[f"{full}.weight"], state[f"{full}.bias"], padding=padding)

    hidden = conv(res4, "conv", 1).clamp(min=0)
    return conv(hidden, "objectness_logits", 0), conv(hidden, "anchor_deltas", 0)


def objectness(logits: np.ndarray, row: int, column: int, anchor: int, quirks: Quirks) -> float:
    count = len(logits) // 2
    places = (anchor, count + anchor) if quirks.softmax_over_halves else (2 * anchor, 2 * anchor + 1)
    nothing, thing = (float(logits[place, row, column]) for place in places)
    return 1 / (1 + math.exp(nothing - thing))


def decoded(anchor: np.ndarray, delta: np.ndarray, quirks: Quirks) -> list[np.float32]:
    """A box from an anchor and its deltas, in single precision."""
    one = np.float32(1 if quirks.pixel_in_decode else 0)
    half = np.float32(0.5)
    box: list[list[np.float32]] = []
    for axis in (0, 1):
        side = anchor[axis + 2] - anchor[axis] + one
        grown = min(delta[axis + 2], np.float32(math.log(1000 / 16))) if quirks.clamped_delta else delta[axis + 2]
        centre = delta[axis] * side + (anchor[axis] + half * side)
        new = np.exp(grown) * side
        box.append([centre - half * new, centre + half * new])
    return [box[0][0], box[1][0], box[0][1], box[1][1]]


def is_large_enough(box: list[np.float32], least: float, quirks: Quirks) -> bool:
    one = 1 if quirks.pixel_in_min_side else 0
    sides = [float(np.float32(box[axis + 2] - box[axis] + np.float32(one))) for axis in (0, 1)]
    large = all(side > least if quirks.min_side_is_strict else side >= least for side in sides)
    return box[2] > box[0] and box[3] > box[1] and large


def iou(a: np.ndarray, b: np.ndarray, quirks: Quirks) -> np.float32:
    one = np.float32(1 if quirks.pixel_in_nms else 0)
    width = max(np.float32(0), min(a[2], b[2]) - max(a[0], b[0]) + one)
    height = max(np.float32(0), min(a[3], b[3]) - max(a[1], b[1]) + one)
    both = width * height
    return both / ((a[2] - a[0] + one) * (a[3] - a[1] + one) + (b[2] - b[0] + one) * (b[3] - b[1] + one) - both)


def suppressed(boxes: np.ndarray, limit: float, quirks: Quirks) -> list[int]:
    """Survivors of boxes that come most confident first."""
    kept: list[int] = []
    for at in range(len(boxes)):
        found = [iou(boxes[other], boxes[at], quirks) for other in kept]
        reached = [v >= np.float32(limit) if quirks.nms_is_inclusive else v > np.float32(limit) for v in found]
        if not any(reached):
            kept.append(at)
    return kept


def proposed(
    logits: Tensor,
    deltas: Tensor,
    anchors: np.ndarray,
    size: tuple[int, int],
    scale: float,
    network: Network,
    quirks: Quirks,
) -> np.ndarray:
    """Proposals [N, 4] of one frame, most confident first."""
    scores, moves = logits[0].numpy(), deltas[0].numpy()
    count, (height, width) = len(anchors), logits.shape[2:]
    found: list[tuple[float, list[np.float32]]] = []
    least = network.min_side * (scale if quirks.min_side_scales else 1)
    edge = 1 if quirks.pixel_in_clip else 0
    for row in range(height):
        for column in range(width):
            for number in range(count):
                shift = np.array([16 * column, 16 * row] * 2, np.float32)
                delta = moves[4 * number : 4 * number + 4, row, column]
                box = decoded(anchors[number] + shift, delta, quirks)
                box = [
                    np.float32(min(max(value, 0), limit - edge))
                    for value, limit in zip(box, (size[1], size[0]) * 2, strict=True)
                ]
                if is_large_enough(box, least, quirks):
                    found.append((objectness(scores, row, column, number, quirks), box))
    found.sort(key=lambda pair: -pair[0])
    boxes = np.array([box for _, box in found][: network.candidates if quirks.top_candidates else None], np.float32)
    kept = suppressed(boxes.reshape(-1, 4), 0.7, quirks)
    return boxes[kept[: network.proposals if quirks.top_proposals else network.proposals + 5]]


def pooled(res4: Tensor, boxes: np.ndarray, quirks: Quirks) -> Tensor:
    """[N, C, 14, 14]: the maximum of each of 14 x 14 bins of whole cells."""
    if not quirks.roi_pool:
        return roi_align(res4, [torch.from_numpy(boxes)], 14, 1 / 16, 2, aligned=True)
    height, width = res4.shape[2:]
    out = torch.zeros(len(boxes), res4.shape[1], 14, 14)
    for number, box in enumerate(boxes):
        x1, y1, x2, y2 = (math.floor(float(value) / 16 + 0.5) for value in box)
        wide, high = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
        for row in range(14):
            top, bottom = y1 + math.floor(row * high / 14), y1 + math.ceil((row + 1) * high / 14)
            top, bottom = (min(max(value, 0), height) for value in (top, bottom))
            for column in range(14):
                left, right = x1 + math.floor(column * wide / 14), x1 + math.ceil((column + 1) * wide / 14)
                left, right = (min(max(value, 0), width) for value in (left, right))
                if bottom > top and right > left:
                    out[number, :, row, column] = res4[0, :, top:bottom, left:right].amax(dim=(1, 2))
    return out


def res5(maps: Tensor, state: State, network: Network, quirks: Quirks) -> Tensor:
    dilation = 2 if quirks.dilated_res5 and not network.pre_activation else 1
    x = maps
    for at in range(3):
        name, stride = f"roi_heads.res5.{at}", 2 if at == 0 and dilation == 1 else 1
        if network.pre_activation:
            x = pre_activated(x, state, name, stride, dilation, activate=at > 0)
        else:
            x = block(x, state, name, stride, dilation, network, quirks)
    if network.pre_activation:
        x = normalised(x, state, "roi_heads.res5_bn", 2e-5).clamp(min=0)
    return x


def heads(features: Tensor, state: State, quirks: Quirks) -> tuple[Tensor, Tensor]:
    """Class probabilities [N, 1 + classes] and attribute probabilities [N, 1 + attributes]."""

    def linear(x: Tensor, name: str) -> Tensor:
        full = f"roi_heads.box_predictor.{name}"
        return x @ state[f"{full}.weight"].T + state[f"{full}.bias"]

    logits = linear(features, "cls_score")
    label = logits.argmax(dim=1) if quirks.embeds_background else logits[:, 1:].argmax(dim=1) + 1
    embedded = state["roi_heads.box_predictor.cls_embed.weight"][label]
    hidden = linear(torch.cat([features, embedded], dim=1), "attr_linear1").clamp(min=0)
    return torch.softmax(logits, dim=1), torch.softmax(linear(hidden, "attr_linear2"), dim=1)


def detected(
    frame: np.ndarray, state: State, network: Network, mean: tuple[float, ...], quirks: Quirks | None = None
) -> Stages:
    """All stages of one frame uint8 [H, W, 3] RGB."""
    quirks = quirks or Quirks()
    image, scale = prepared(frame, mean, network, quirks)
    stemmed = stem(image, state, network, quirks)
    maps = backbone(stemmed, state, network, quirks)
    if network.pre_activation:
        maps = normalised(maps, state, "roi_heads.res5.0.norm", 2e-5).clamp(min=0)
    logits, deltas = rpn(maps, state)
    stored = state["proposal_generator.anchor_generator.cell_anchors.0"].numpy()
    anchors = stored if quirks.anchors_from_file else classical_anchors()
    size = (image.shape[1], image.shape[2])
    boxes = proposed(logits, deltas, anchors, size, scale, network, quirks)
    crops = pooled(maps, boxes, quirks)
    last = res5(crops, state, network, quirks)
    features = last.mean(dim=(2, 3))
    classes, attributes = heads(features, state, quirks)
    return Stages(image, scale, stemmed, maps, logits, deltas, boxes, crops, last, features, classes, attributes)


def kept(
    stages: Stages, regions: int, limit: float, quirks: Quirks | None = None
) -> list[tuple[int, int, float, int, float]]:
    """(proposal, class, confidence, attribute, its score) of the regions most confident after per-class suppression."""
    quirks = quirks or Quirks()
    boxes = stages.proposals / np.float32(stages.scale)
    scores = (stages.classes[:, 1:] if quirks.background_first else stages.classes[:, :-1]).numpy()
    best: dict[int, tuple[float, int]] = {}
    for label in range(scores.shape[1]):
        order = np.argsort(-scores[:, label], kind="stable")
        for at in order[suppressed(boxes[order], limit, quirks)]:
            score = float(scores[at, label])
            if at not in best or score > best[at][0]:
                best[int(at)] = (score, label)
    ranked = sorted(best.items(), key=lambda entry: (-entry[1][0], entry[0]))[:regions]
    found = []
    for row, (score, label) in ranked:
        attribute = int(stages.attributes[row].argmax())
        likely = float(stages.attributes[row, attribute])
        if quirks.no_attribute_first:
            attribute, likely = attribute - 1, likely if attribute else 0.0
        found.append((row, label, score, attribute, likely))
    return found
