"""The colours of a drawn scene in both schemes, and the style sheet made of them.

Every text colour keeps a contrast of at least 4.5 on the ground and on each tint that it stands on, every figure at
least 3 (WCAG 2.2, 1.4.3 and 1.4.11); the tests compute it. Colours stand twice instead of in variables, because
Inkscape, librsvg and resvg read no ``var()``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Scheme = Literal["auto", "light", "dark"]

LIGHT: Mapping[str, str] = {
    "ground": "#fbfaf7",
    "ink": "#23272e",
    "quiet": "#5d6570",
    "rule": "#dcd8cf",
    "track": "#e9e5dc",
    "figure": "#4b6076",
    "area": "#d5dde6",
    "accent": "#b4541a",
    "text": "#1f5fa8",
    "lexicon": "#14706a",
    "encoder": "#6d4bb0",
    "emotion": "#a8327d",
    "archive": "#805300",
    "tint": "#dfeaf6",
    "negated-tint": "#f9e1dd",
}
DARK: Mapping[str, str] = {
    "ground": "#16191d",
    "ink": "#e6e8eb",
    "quiet": "#9da6b1",
    "rule": "#343a42",
    "track": "#2a2f36",
    "figure": "#93abc4",
    "area": "#2c3a49",
    "accent": "#f0a063",
    "text": "#7fb4f0",
    "lexicon": "#5cc9b5",
    "encoder": "#bba3f4",
    "emotion": "#ef8fcb",
    "archive": "#e0b04a",
    "tint": "#1c3450",
    "negated-tint": "#4a2522",
}
ORIGINS = ("text", "lexicon", "encoder", "emotion", "archive")

TEXTS: Mapping[str, str] = {"": "ink", "quiet": "quiet", "accent": "accent"} | {origin: origin for origin in ORIGINS}
"""Kinds of text with their colour."""
FILLS: Mapping[str, str] = {
    "ground": "ground", "track": "track", "figure": "figure", "area": "area", "accent": "accent", "base": "quiet",
    "mark": "tint", "mark-negated": "negated-tint", "strong": "ink", "weak": "quiet",
} | {f"dot-{origin}": origin for origin in ORIGINS}  # fmt: skip
"""Kinds of filled shapes with their colour."""
STROKES: Mapping[str, str] = {
    "rule": "rule", "grid": "rule", "axis": "quiet", "outline": "figure", "other": "accent", "open": "quiet",
    "pause": "accent", "arc": "quiet", "nothing": "quiet",
} | {f"from-{origin}": origin for origin in ORIGINS}  # fmt: skip
"""Kinds of drawn lines with their colour."""
_DASHED = ("nothing", "dashed")
_FONT = 'system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif'


def style_sheet(root: str, scheme: Scheme) -> str:
    """The rules for everything under the class ``root``; ``auto`` follows the reader's scheme, light where none is known."""
    fixed = [
        f".{root} text {{ font-family: {_FONT}; }}",
        f".{root} .bold {{ font-weight: 600; }}",
        f".{root} .line {{ fill: none; stroke-width: 1.5; stroke-linecap: round; }}",
        f".{root} .rule, .{root} .grid {{ stroke-width: 1; }}",
        *(f".{root} .{kind} {{ stroke-dasharray: 3 3; stroke-linecap: butt; }}" for kind in _DASHED),
    ]
    if scheme != "auto":
        return "\n".join([*_rules(root, DARK if scheme == "dark" else LIGHT), *fixed, ""])
    dark = ["@media (prefers-color-scheme: dark) {", *_rules(root, DARK), "}"]
    return "\n".join([*_rules(root, LIGHT), *fixed, *dark, ""])


def _rules(root: str, colours: Mapping[str, str]) -> list[str]:
    texts = [f".{root} text{f'.{kind}' * bool(kind)} {{ fill: {colours[name]}; }}" for kind, name in TEXTS.items()]
    fills = [f".{root} .fill.{kind} {{ fill: {colours[name]}; }}" for kind, name in FILLS.items()]
    strokes = [f".{root} .line.{kind} {{ stroke: {colours[name]}; }}" for kind, name in STROKES.items()]
    return texts + fills + strokes
