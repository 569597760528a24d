"""The remembered scenes that were recalled, each with why."""

from __future__ import annotations

from scenepipe.drawing.look import Look
from scenepipe.drawing.measure import shorten
from scenepipe.drawing.pen import BODY, HEAD, SMALL, Pen
from scenepipe.drawing.words import said, visible
from scenepipe.scene import Scene

MOST_ECHOES = 5


def echoes_panel(scene: Scene, look: Look, room: float) -> Pen | None:
    """One line for the text and one for the reasons; None where nothing came back."""
    if not scene.echoes:
        return None
    pen = Pen("echoes", room, look.label["echoes"])
    opening, closing = "«»" if look.language == "ru" else "“”"
    y, spoken = float(HEAD), []
    for echo in scene.echoes[:MOST_ECHOES]:
        words = shorten(visible(echo.text), room - 2 * BODY, BODY)
        why = shorten("; ".join(said(reason, look.language) for reason in echo.reasons), room, SMALL)
        pen.text(0, y + 12, f"{opening}{words}{closing}")
        pen.text(0, y + 30, why, "quiet", size=SMALL)
        y += 46
        spoken.append(f"{words} ({why})")
    if len(scene.echoes) > MOST_ECHOES:
        pen.text(0, y + 9, look.label["more"].format(len(scene.echoes) - MOST_ECHOES), "quiet", size=SMALL)
        y += 20
    pen.height = y
    pen.say(f"{look.label['echoes']}: {'; '.join(spoken)}")
    return pen
