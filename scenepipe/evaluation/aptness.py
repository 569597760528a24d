"""Aptness in ten: given a reply, is its own input the nearest of ten inputs to it, under the sentence encoder?

Nine other inputs of the same language are drawn at random; instead of drawing, the chance of a hit is worked out. With
``k`` of ``m`` other inputs nearer than the reply's own, none of the nine is nearer with probability
C(m - k, 9) / C(m, 9). A guess hits one time in ten. Where one of several candidates is kept, the same
encoder had a say in which (`scenepipe.choose`), and the figure is the better for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scenepipe.contracts import Encoder

AMONG = 10


def aptness(encoder: Encoder, replies: Sequence[str], own: Sequence[int], texts: Sequence[str]) -> list[float]:
    """Chance of a hit (0..1) for each reply.

    Args:
        own: for each reply, the place of its input in ``texts``.
        texts: the inputs of one language, all different; with fewer than ten, all of them are the choice.
    """
    if not replies:
        return []
    near = encoder.encode(replies) @ encoder.encode(texts).T
    return [hit_chance(int((row > row[place]).sum()), len(texts) - 1) for row, place in zip(near, own, strict=True)]


def hit_chance(nearer: int, others: int) -> float:
    """Probability that none of ``AMONG - 1`` inputs drawn from ``others`` is among the ``nearer`` ones."""
    drawn = min(AMONG - 1, others)
    return math.comb(others - nearer, drawn) / math.comb(others, drawn)
