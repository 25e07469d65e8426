"""How large random weights begin."""

from __future__ import annotations

import math

_STD, _WIDTH = 0.02, 768  # of ViT-B and of BERT


def initial_std(width: int) -> float:
    """Standard deviation of the weights of an encoder so wide: 0.02 at 768, larger in narrower ones, so that sums over
    the width begin as large."""
    return _STD * math.sqrt(_WIDTH / width)
