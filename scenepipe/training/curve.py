"""The loss curve of a training run as an SVG that reads in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

CURVE_FILE = "loss.svg"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 320, 52, 40, 36, 16
SMOOTHING = 0.9
"""Weight of the past in the drawn training loss (exponential moving average)."""


class Point(NamedTuple):
    """Losses at one step, nats per learnt token; None where the step has none."""

    step: int
    train: float | None = None
    dev: float | None = None


def draw_curve(points: Sequence[Point], title: str) -> str:
    """Training loss (smoothed) and dev loss over steps."""
    train = _smoothed([(p.step, p.train) for p in points if p.train is not None])
    dev = [(p.step, p.dev) for p in points if p.dev is not None]
    losses = [loss for _, loss in (*train, *dev)] or [0.0]
    low, high = min(losses), max(losses)
    high = high if high > low else low + 1.0
    last = max((step for step, _ in (*train, *dev)), default=1) or 1

    def place(step: float, loss: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        return round(x, 1), round(TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low), 1)

    marks = "".join(f'<circle class="dev" cx="{x}" cy="{y}" r="3"/>' for x, y in (place(*p) for p in dev))
    rules = "".join(_rule(low + (high - low) * i / 4, place) for i in range(5))
    return _FRAME.format(
        width=WIDTH,
        height=HEIGHT,
        title=escape(title),
        rules=rules,
        train=_path([place(*p) for p in train]),
        dev=_path([place(*p) for p in dev]),
        marks=marks,
        last=last,
        right=WIDTH - RIGHT,
        bottom=HEIGHT - BOTTOM + 18,
        left=LEFT,
    )


def _smoothed(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    out: list[tuple[int, float]] = []
    for step, loss in points:
        out.append((step, loss if not out else SMOOTHING * out[-1][1] + (1 - SMOOTHING) * loss))
    return out


def _rule(loss: float, place: object) -> str:
    assert callable(place)
    _, y = place(0, loss)
    return (
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{loss:.2f}</text>'
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{'M' if i == 0 else 'L'}{x} {y}" for i, (x, y) in enumerate(points))


_FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}: loss by step">
<style>
:root {{ color-scheme: light dark; --ink: #222; --rule: #ddd; --train: #4a7ebb; --dev: #c8502f; --paper: #fff; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #ddd; --rule: #444; --train: #8ab4e8; --dev: #f0906f; --paper: #1a1a1a; }}
}}
text {{ font: 12px sans-serif; fill: var(--ink); }}
.rule {{ stroke: var(--rule); }} path {{ fill: none; stroke-width: 2; }}
.train {{ stroke: var(--train); }} .dev {{ stroke: var(--dev); }} circle.dev {{ fill: var(--dev); }}
</style>
<rect width="100%" height="100%" fill="var(--paper)"/>
<text x="{left}" y="20">{title}: nats per learnt token</text>
{rules}
<path class="train" d="{train}"/><path class="dev" d="{dev}"/>{marks}
<text x="{left}" y="{bottom}">step 0</text><text x="{right}" y="{bottom}" text-anchor="end">{last}</text>
<text x="{right}" y="20" text-anchor="end">training (line) · dev (dots)</text>
</svg>
"""
