"""The networks of the "caffe" bottom-up-attention checkpoints, in plain torch; modules have the names in the files.

Two kinds of residual block: R101 adds and then rectifies; R152 is pre-activated (normalise, rectify, convolve), and its
res5 shares the first normalisation with the RPN. Facts: MILVLG/bottom-up-attention.pytorch, ``bua/caffe/modeling``.
Letters: F frames, H W a map's sides, A anchors a cell, N regions over all frames, V feature width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from extract.networks.bottom_up_rpn import classical_anchors
from extract.presets import BottomUpSettings

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_EMBEDDING = 256
_HIDDEN = 512
_EPSILON = 1e-5
_EPSILON_PRE = 2e-5


class ConvolvedThenNormalised(nn.Conv2d):
    """Convolution, then frozen batch norm."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, epsilon: float, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class NormalisedThenConvolved(nn.Conv2d):
    """Frozen batch norm, rectifier, then convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(inputs, eps=_EPSILON_PRE)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.relu_(self.norm(x)))


class Block(nn.Module):
    """Bottleneck of R101: 1x1, 3x3, 1x1, each normalised; the sum is rectified."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, stride_in_1x1: bool) -> None:
        super().__init__()
        middle = outputs // 4
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut = ConvolvedThenNormalised(inputs, outputs, 1, _EPSILON, stride) if inputs != outputs else None
        self.conv1 = ConvolvedThenNormalised(inputs, middle, 1, _EPSILON, first)
        self.conv2 = ConvolvedThenNormalised(middle, middle, 3, _EPSILON, second, dilation)
        self.conv3 = ConvolvedThenNormalised(middle, outputs, 1, _EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv3(F.relu_(self.conv2(F.relu_(self.conv1(x)))))
        return F.relu_(out.add_(x if self.shortcut is None else self.shortcut(x)))


class PreActivatedBlock(nn.Module):
    """Bottleneck of R152: every convolution takes normalised and rectified input; the sum is left as it is."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, stride_in_1x1: bool) -> None:
        super().__init__()
        middle = outputs // 4
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.norm = nn.BatchNorm2d(inputs, eps=_EPSILON_PRE)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None
        self.conv1 = nn.Conv2d(inputs, middle, 1, first, bias=False)
        self.conv2 = NormalisedThenConvolved(middle, middle, 3, second, dilation)
        self.conv3 = NormalisedThenConvolved(middle, outputs, 1)

    def activate(self, x: Tensor) -> Tensor:
        """The block's own first step."""
        return F.relu_(self.norm(x))

    def convolve(self, activated: Tensor, x: Tensor) -> Tensor:
        """The rest of it; ``x`` is what a block without a shortcut convolution adds."""
        out = self.conv3(self.conv2(self.conv1(activated)))
        return out.add_(x if self.shortcut is None else self.shortcut(activated))

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(self.activate(x), x)


class Stem(nn.Module):
    """7x7 stride 2, batch norm, ReLU, then max-pool 3x3 stride 2 without padding, rounding sizes up."""

    def __init__(self, width: int, pre_activation: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, eps=_EPSILON_PRE) if pre_activation else nn.Identity()
        self.conv1 = ConvolvedThenNormalised(3, width, 7, _EPSILON_PRE if pre_activation else _EPSILON, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu_(self.conv1(self.norm(x))), 3, 2, padding=0, ceil_mode=True)


class Backbone(nn.Module):
    """Stem to res4: [F, 3, h, w] -> [F, 16 * width, H, W] at stride 16."""

    def __init__(self, settings: BottomUpSettings) -> None:
        super().__init__()
        self.stem = Stem(settings.width, settings.pre_activation)
        width, inputs = 4 * settings.width, settings.width
        for number, stage in enumerate(("res2", "res3", "res4")):
            setattr(self, stage, _stage(settings, number, inputs, width, 1 if number == 0 else 2, 1))
            width, inputs = 2 * width, width

    def forward(self, x: Tensor) -> Tensor:
        return self.res4(self.res3(self.res2(self.stem(x))))


class RpnHead(nn.Module):
    """[F, C, H, W] -> objectness logits [F, 2A, H, W], laid out (2, A), and deltas [F, 4A, H, W], laid out (A, 4)."""

    def __init__(self, inputs: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, _HIDDEN, 3, padding=1)
        self.objectness_logits = nn.Conv2d(_HIDDEN, 2 * anchors, 1)
        self.anchor_deltas = nn.Conv2d(_HIDDEN, 4 * anchors, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.relu_(self.conv(x))
        return self.objectness_logits(hidden), self.anchor_deltas(hidden)


class ProposalGenerator(nn.Module):
    """The RPN's layers, and its anchors: the file's own where it carries them, else those of classical Faster R-CNN."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        anchors = torch.from_numpy(classical_anchors())
        self.rpn_head = RpnHead(inputs, len(anchors))
        self.anchor_generator = nn.Module()
        self.anchor_generator.cell_anchors = nn.Module()
        self.anchor_generator.cell_anchors.register_buffer("0", anchors)

    @property
    def anchors(self) -> Tensor:
        """Corners [A, 4] of the anchors of the cell at the origin, in pixels."""
        return self.anchor_generator.cell_anchors.get_buffer("0")


class BoxPredictor(nn.Module):
    """Class and attribute scores of pooled features; background and "no attribute" come first."""

    def __init__(self, features: int, classes: int, attributes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(features, classes + 1)
        self.bbox_pred = nn.Linear(features, 4 * (classes + 1))  # in the files; the exported boxes are the proposals
        self.cls_embed = nn.Embedding(classes + 1, _EMBEDDING)
        self.attr_linear1 = nn.Linear(features + _EMBEDDING, _HIDDEN)
        self.attr_linear2 = nn.Linear(_HIDDEN, attributes + 1)

    def forward(self, features_NV: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities [N, 1 + classes] and [N, 1 + attributes]."""
        logits = self.cls_score(features_NV).float()
        embedded = self.cls_embed(logits.argmax(dim=1))
        hidden = F.relu(self.attr_linear1(torch.cat([features_NV, embedded], dim=1)))
        return logits.softmax(dim=1), self.attr_linear2(hidden).float().softmax(dim=1)


class RoiHeads(nn.Module):
    """res5 over pooled maps [N, C, 14, 14], its mean, and the predictor."""

    def __init__(self, settings: BottomUpSettings) -> None:
        super().__init__()
        outputs = 32 * settings.width
        stride = 1 if settings.res5_dilation > 1 else 2
        self.res5 = _stage(settings, 3, outputs // 2, outputs, stride, settings.res5_dilation)
        self.res5_bn = nn.BatchNorm2d(outputs, eps=_EPSILON_PRE) if settings.pre_activation else None
        self.box_predictor = BoxPredictor(outputs, settings.num_classes, settings.num_attributes)

    def shared(self, res4: Tensor) -> Tensor:
        """What RPN and pooling see of res4: for R152 what its first res5 block would make of it first."""
        return res4 if self.res5_bn is None else self.res5[0].activate(res4)

    def transform(self, pooled: Tensor) -> Tensor:
        """res5's maps [N, V, h, w] of pooled ones."""
        if self.res5_bn is None:
            return self.res5(pooled)
        return F.relu_(self.res5_bn(self.res5[1:](self.res5[0].convolve(pooled, pooled))))


class BottomUpNetwork(nn.Module):
    """All layers of a checkpoint; ``extract.networks.bottom_up.BottomUp`` takes frames through them, stage by stage."""

    def __init__(self, settings: BottomUpSettings) -> None:
        super().__init__()
        self.backbone = Backbone(settings)
        self.proposal_generator = ProposalGenerator(16 * settings.width)
        self.roi_heads = RoiHeads(settings)


def _stage(
    settings: BottomUpSettings, number: int, inputs: int, outputs: int, stride: int, dilation: int
) -> nn.Sequential:
    kind = PreActivatedBlock if settings.pre_activation else Block
    count = _BLOCKS[settings.depth][number]
    strides, widths = [stride] + [1] * (count - 1), [inputs] + [outputs] * (count - 1)
    return nn.Sequential(
        *(kind(w, outputs, s, dilation, settings.stride_in_1x1) for w, s in zip(widths, strides, strict=True))
    )
