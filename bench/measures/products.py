"""The matrix products of a piece of work, written down while it runs and done again without the rest of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]  # shape, strides, type


class Products(TorchDispatchMode):
    """Within ``with Products() as products:`` every matrix product is written down, backward passes included.

    Attention kernels count as the products in them: two forward, five backward (the scores are computed again).
    ``floating_point_operations`` counts two an element of each sum.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[Layout, Layout]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self._add(args[0], args[1])
        elif name in ("addmm", "baddbmm"):
            self._add(args[1], args[2])
        elif name == "_scaled_dot_product_flash_attention_for_cpu":
            self._add_attention(*args[:3], backward=False)
        elif name == "_scaled_dot_product_flash_attention_for_cpu_backward":
            self._add_attention(*args[1:4], backward=True)
        return func(*args, **(kwargs or {}))

    @property
    def floating_point_operations(self) -> int:
        """Of all products together."""
        return sum(2 * math.prod(left[0]) * right[0][-1] for left, right in self.pairs)

    def replay(self) -> Callable[[], None]:
        """What does the products alone, as often and in the order in which they came.

        Operands and results have the layouts that they had and are made beforehand, one of each kind: their memory is
        warm, which favours the products over the work that they came from.
        """
        pool: dict[Any, Tensor] = {}

        def made(layout: Layout, role: str) -> Tensor:
            shape, strides, dtype = layout
            if (layout, role) not in pool:
                pool[layout, role] = torch.empty_strided(shape, strides, dtype=dtype).normal_()
            return pool[layout, role]

        work = []
        for left, right in self.pairs:
            shape = (*left[0][:-1], right[0][-1])
            out = made((shape, tuple(torch.empty(shape, device="meta").stride()), left[2]), "out")
            work.append((torch.mm if len(shape) == 2 else torch.bmm, made(left, "left"), made(right, "right"), out))

        def run() -> None:
            with torch.no_grad():
                for product, left, right, out in work:
                    product(left, right, out=out)

        return run

    def _add(self, left: Tensor, right: Tensor) -> None:
        self.pairs.append((_layout(left), _layout(right)))

    def _add_attention(self, q_BHSd: Tensor, k_BHSd: Tensor, v_BHSd: Tensor, backward: bool) -> None:
        q, k, v = (torch.empty(t.flatten(0, 1).shape, dtype=t.dtype, device="meta") for t in (q_BHSd, k_BHSd, v_BHSd))
        scores = torch.empty(len(q), q.shape[1], k.shape[1], dtype=q.dtype, device="meta")
        self._add(q, k.mT)
        if not backward:
            self._add(scores, v)
            return
        self._add(scores.mT, q)  # to the values: the result's gradient is shaped like the queries
        self._add(q, v.mT)  # to the attention
        self._add(scores, k)  # to the queries
        self._add(scores.mT, q)  # to the keys


def _layout(tensor: Tensor) -> Layout:
    return tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype
