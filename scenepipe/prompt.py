"""The scene prompt: one versioned template, the same for every register.

Version 1, in the scene's language (Russian for ``ru``, English otherwise)::

    Эхо: «text of a recalled scene»          one line per echo, none without echoes
    Сцена: the text
    Сцепка: дрожь·тишина·вход                left out when there is no linkage
    Ответ:

The voice is the adapter's job; the linkage is what the reply unfolds. Everything that came from outside is one line
with no control characters, so remembered or foreign text cannot open a line of the template. Changing a character
of the template is a new version: adapters and receipts name the version they were made with.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

PROMPT_VERSION = 1
LINKAGE_JOINER = "·"

_LABELS = {
    "ru": {"echo": "Эхо", "turn": "Раньше", "scene": "Сцена", "linkage": "Сцепка", "reply": "Ответ", "quote": "«{}»"},
    "en": {"echo": "Echo", "turn": "Before", "scene": "Scene", "linkage": "Linkage", "reply": "Reply", "quote": "“{}”"},
}
_STOPS = tuple(
    f"\n{labels[part]}:" for labels in _LABELS.values() for part in ("echo", "turn", "scene", "linkage", "reply")
)


@dataclass(frozen=True)
class ScenePrompt:
    """What the template is filled with.

    Args:
        text: the person's text.
        language: ``ru``, ``en`` or ``und``.
        linkage: symbols for the reply to unfold, in order.
        echoes: texts of recalled scenes, strongest first.
        turns: earlier texts and replies of the chat, oldest first.
    """

    text: str
    language: str
    linkage: Sequence[str] = ()
    echoes: Sequence[str] = ()
    turns: Sequence[str] = ()

    def render(self) -> str:
        """The plain-text prompt; the reply follows the last colon after one space."""
        labels = _LABELS["ru" if self.language == "ru" else "en"]
        lines = [f"{labels['echo']}: {labels['quote'].format(one_line(echo))}" for echo in self.echoes]
        lines += [f"{labels['turn']}: {labels['quote'].format(one_line(turn))}" for turn in self.turns]
        lines.append(f"{labels['scene']}: {one_line(self.text)}")
        if self.linkage:
            lines.append(f"{labels['linkage']}: {LINKAGE_JOINER.join(one_line(word) for word in self.linkage)}")
        lines.append(f"{labels['reply']}:")
        return "\n".join(lines)

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a reply: a blank line (verse uses single ones) or the template opening again."""
        return ("\n\n", *_STOPS)


def one_line(text: str) -> str:
    """The text with control characters and all white space folded into single spaces."""
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text).split())


def prompt_sha256(prompt: str) -> str:
    """Hash of the exact prompt, as receipts store it."""
    return hashlib.sha256(prompt.encode()).hexdigest()
