"""Sentences of like length, to be encoded together with little padding.

Letters: C sentences, L word tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

# What a group more costs, in tokens that could be encoded in its time. On a CPU: gradients of the weights are added
# once more. On a GPU: kernels are started once more, for matrices that fill the device less.
CPU_OVERHEAD, GPU_OVERHEAD = 64, 4096


def length_groups(lengths_C: Sequence[int], overhead: int) -> list[list[int]]:
    """Splits sentences into groups, each to be padded to its own longest.

    Returns the rows of each group, shorter sentences first, rows in order where lengths are equal. The split has the
    least cost of all splits by length, where a group costs its sentences times its longest plus ``overhead`` tokens; of
    equal ones that with the longest last group. It depends on nothing but the arguments.
    """
    counts = sorted(Counter(lengths_C).items())
    below = [0, *accumulate(count for _, count in counts)]  # sentences shorter than the i-th length
    cost, start = [0], [0]  # of the best split of the i shortest lengths; where its last group starts
    for end in range(1, len(counts) + 1):
        longest = counts[end - 1][0]
        best = min((cost[at] + (below[end] - below[at]) * longest + overhead, at) for at in range(end))
        cost.append(best[0])
        start.append(best[1])
    rows = sorted(range(len(lengths_C)), key=lengths_C.__getitem__)
    groups, end = [], len(counts)
    while end:
        groups.append(rows[below[start[end]] : below[end]])
        end = start[end]
    return groups[::-1]
