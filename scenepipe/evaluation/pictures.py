"""Pictures of the results: SVG that follows the reader's light or dark scheme.

Colours stand twice instead of in variables: Inkscape, librsvg and resvg read no ``var()``. Numbers stand in every
cell, and lines are told apart by dashes as well, so that nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from scenepipe.evaluation.curves import STEPS, Curve
from scenepipe.evaluation.intervals import Figure

CELL_W, CELL_H, LEFT, TOP = 116, 44, 120, 84
PANEL_W, PANEL_H, GAP = 300, 190, 34
LANGUAGES = {"ru": "Russian", "en": "English"}
_STYLE = """
svg { color: #1f2328; }
text { fill: currentColor; font: 13px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
.title { font-weight: 600; font-size: 16px; }
.quiet { fill: #57606a; font-size: 12px; }
.cell { fill: #0969da; }
.own { fill: none; stroke: #1f2328; stroke-width: 2; }
.rule { stroke: #d0d7de; }
.line { fill: none; stroke-width: 2; }
.a { stroke: #0969da; } .b { stroke: #bc4c00; stroke-dasharray: 6 4; } .odds { stroke: #1f2328; }
.band { fill: #1f2328; opacity: 0.12; }
.dot { fill: #1f2328; }
@media (prefers-color-scheme: dark) {
  svg { color: #e6edf3; }
  .quiet { fill: #9198a1; }
  .cell { fill: #4493f8; }
  .own { stroke: #e6edf3; }
  .rule { stroke: #3d444d; }
  .a { stroke: #4493f8; } .b { stroke: #f0883e; } .odds { stroke: #e6edf3; }
  .band, .dot { fill: #e6edf3; }
}
"""


def matrix_picture(part: Mapping[str, Any], language: str) -> str:
    """Heat map of perplexities: a row for each register's replies, a column for each adapter; the darker, the better."""
    table: Mapping[str, Mapping[str, Figure]] = part["perplexity"]
    shades = {
        name: {speaker: min(f.value for f in row.values()) / figure.value for speaker, figure in row.items()}
        for name, row in table.items()
    }
    title = f"Perplexity of written test replies, {LANGUAGES.get(language, language)}"
    return _grid(title, "adapter →  replies of ↓", table, shades, lambda figure: f"{figure.value:.1f}")


def confusion_picture(table: Mapping[str, Mapping[str, int]]) -> str:
    """What the judge took drawn replies for, in shares of each row."""
    shares = {name: {o: count / max(1, sum(row.values())) for o, count in row.items()} for name, row in table.items()}
    return _grid("The judge on drawn replies", "taken for →  drawn as ↓", table, shares, str)


def _grid(
    title: str,
    corner: str,
    table: Mapping[str, Mapping[str, Any]],
    shades: Mapping[str, Mapping[str, float]],
    show: Callable[[Any], str],
) -> str:
    columns = list(next(iter(table.values())))
    parts = [_text(12, 26, title, "title"), _text(12, 50, corner, "quiet")]
    parts += [_text(LEFT + CELL_W * (i + 0.5), TOP - 10, name, "", "middle") for i, name in enumerate(columns)]
    for row, (name, values) in enumerate(table.items()):
        y = TOP + CELL_H * row
        parts.append(_text(LEFT - 10, y + CELL_H / 2 + 5, name, "", "end"))
        for column, other in enumerate(columns):
            x = LEFT + CELL_W * column
            box = f'x="{x + 1}" y="{y + 1}" width="{CELL_W - 2}" height="{CELL_H - 2}" rx="4"'
            opacity = 0.75 * max(0.0, min(1.0, shades[name][other])) ** 3
            parts.append(f'<rect class="cell" {box} opacity="{opacity:.3f}"/>')
            if other == name:
                parts.append(f'<rect class="own" {box}/>')
            parts.append(_text(x + CELL_W / 2, y + CELL_H / 2 + 5, show(values[other]), "", "middle"))
    return _svg(title, LEFT + CELL_W * len(columns) + 16, TOP + CELL_H * len(table) + 16, parts)


def curves_picture(curves: Sequence[Curve], language: str) -> str:
    """For each pair, the judge's log-odds with its interval above, both perplexities below."""
    title = f"From one register to another, {LANGUAGES.get(language, language)}"
    parts = [_text(12, 26, title, "title"), _text(12, 46, "weight of the first register, 0 to 1", "quiet")]
    columns = min(3, len(curves))
    block = 2 * PANEL_H + 2 * GAP + 10
    for place, curve in enumerate(curves):
        x = 52 + (place % columns) * (PANEL_W + 44)
        y = 84 + (place // columns) * block
        parts += _odds_panel(curve, x, y)
        parts += _perplexity_panel(curve, x, y + PANEL_H + GAP)
    rows = -(-len(curves) // columns)
    return _svg(title, 52 + columns * (PANEL_W + 44), 84 + rows * block, parts)


def _odds_panel(curve: Curve, x: float, y: float) -> list[str]:
    lows, highs = [f.low for f in curve.log_odds], [f.high for f in curve.log_odds]
    place = _scale(x, y, min(0.0, *lows), max(0.0, *highs))
    band = [place(w, v) for w, v in zip(STEPS, lows, strict=True)]
    band += [place(w, v) for w, v in reversed(list(zip(STEPS, highs, strict=True)))]
    dots = [place(w, f.value) for w, f in zip(STEPS, curve.log_odds, strict=True)]
    first, second = curve.pair
    title = f"{first} over {second}: log-odds, nats (Spearman {curve.spearman.value:.2f})"
    return [
        _text(x, y - 8, title, "quiet"),
        *_rules(x, place, min(0.0, *lows), max(0.0, *highs), 1),
        f'<polygon class="band" points="{_points(band)}"/>',
        f'<polyline class="line odds" points="{_points(dots)}"/>',
        *(f'<circle class="dot" cx="{a}" cy="{b}" r="3"/>' for a, b in dots),
    ]


def _perplexity_panel(curve: Curve, x: float, y: float) -> list[str]:
    values = [figure.value for row in curve.perplexity.values() for figure in row]
    low, high = min(values), max(values)
    place = _scale(x, y, low, high)
    first, second = curve.pair
    parts = [_text(x, y - 8, f"perplexity of replies: {first} (line), {second} (dashes)", "quiet")]
    parts += _rules(x, place, low, high, 0)
    for name, kind in zip(curve.pair, "ab", strict=True):
        line = [place(w, f.value) for w, f in zip(STEPS, curve.perplexity[name], strict=True)]
        parts.append(f'<polyline class="line {kind}" points="{_points(line)}"/>')
    return parts


Place = Callable[[float, float], tuple[float, float]]


def _scale(x: float, y: float, low: float, high: float) -> Place:
    span = high - low or 1.0
    return lambda weight, value: (round(x + weight * PANEL_W, 1), round(y + (high - value) / span * (PANEL_H - 10), 1))


def _rules(x: float, place: Place, low: float, high: float, digits: int) -> list[str]:
    parts = []
    for value in (low, 0.0 if low < 0 < high else (low + high) / 2, high):
        _, y = place(0, value)
        parts.append(f'<line class="rule" x1="{x}" x2="{x + PANEL_W}" y1="{y}" y2="{y}"/>')
        parts.append(_text(x - 6, y + 4, f"{value:.{digits}f}", "quiet", "end"))
    return parts


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "") -> str:
    attributes = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:g}" y="{y:g}"{attributes}>{escape(words)}</text>'


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    label = escape(title)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">'
    return "\n".join([head, f"<title>{label}</title>", f"<style>{_STYLE}</style>", *parts, "</svg>", ""])
