"""The linkage: its words in order, joined by arcs, and below them the joined form."""

from __future__ import annotations

from itertools import pairwise

from scenepipe.drawing.look import Look
from scenepipe.drawing.measure import shorten, width
from scenepipe.drawing.pen import BODY, HEAD, Pen, number
from scenepipe.drawing.words import visible
from scenepipe.scene import Scene

SIZE, MOST_LINKS = 19, 24
_GAP, _ROW, _ARC, _LANE, _LONGEST = 34, 72, 22, 15, 300


def linkage_panel(scene: Scene, look: Look, room: float) -> Pen:
    """Words on their line, each in the colour of its origin; an arc leads from each to the next."""
    pen = Pen("linkage", room, look.label["linkage"])
    chain = scene.linkage.chain if scene.linkage is not None else ()
    if not chain:
        pen.text(0, HEAD + 12, look.label["unknown" if scene.linkage is None else "none"], "quiet")
        pen.height = HEAD + 20
        pen.say(f"{look.label['linkage']}: {look.label['unknown' if scene.linkage is None else 'none']}")
        return pen
    places = _words(pen, chain[:MOST_LINKS], scene)
    for before, after in pairwise(places):
        _arc(pen, before, after)
    assert scene.linkage is not None
    y = places[-1][1] + 28
    if len(chain) > MOST_LINKS:
        pen.text(0, y, look.label["more"].format(len(chain) - MOST_LINKS), "quiet")
        y += 20
    pen.text(0, y, visible(scene.linkage.joined), "quiet", size=BODY + 1, room=room)
    pen.height = y + 6
    pen.say(f"{look.label['linkage']}: {' → '.join(map(visible, chain[:MOST_LINKS]))}")
    return pen


def _words(pen: Pen, chain: tuple[str, ...], scene: Scene) -> list[tuple[float, float]]:
    """Write the words; where the middle of each stands."""
    origins = {symbol.key: symbol.origin for symbol in (*(scene.hyperscene or ()), *(scene.symbols or ()))}
    places: list[tuple[float, float]] = []
    x, y = 0.0, HEAD + _ARC + SIZE
    for link in chain:
        word = shorten(visible(link), _LONGEST, SIZE)
        wide = width(word, SIZE)
        if x and x + wide > pen.room:
            x, y = 0.0, y + _ROW
        pen.text(x + wide / 2, y, word, origins.get(link, ""), size=SIZE, anchor="middle")
        places.append((x + wide / 2, y))
        x += wide + _GAP
    return places


def _arc(pen: Pen, before: tuple[float, float], after: tuple[float, float]) -> None:
    """From above one word to above the next; to the next row it leaves below the word."""
    (x1, y1), (x2, y2) = before, after
    end = y2 - SIZE
    if y1 == y2:
        x1, x2, start, bend = x1 + 4, x2 - 4, y1 - SIZE, end - 4 / 3 * _ARC
        curve = f"C {number(x1)} {number(bend)} {number(x2)} {number(bend)}"
    else:
        x2, start, lane = x2 - 4, y1 + 6, y1 + _LANE
        curve = f"Q {number(x1)} {number(lane)} {number(x1 - 9)} {number(lane)} L {number(x2 + 12)} {number(lane)} "
        curve += f"Q {number(x2)} {number(lane)} {number(x2)} {number(lane + 12)} L"
    pen.path("arc link", f"M {number(x1)} {number(start)} {curve} {number(x2)} {number(end)}")
    pen.path(
        "arc", f"M {number(x2 - 4)} {number(end - 5)} L {number(x2)} {number(end)} L {number(x2 + 4)} {number(end - 5)}"
    )
