"""The scene prompt: one versioned template, the same for every register.

Version 1, in the scene's language (Russian for ``ru``, English otherwise)::

    Стиль: how to speak                      left out where nobody asks for a style
    Эхо: «text of a recalled scene»          one line per echo, none without echoes
    Сцена: the text
    Сцепка: дрожь·тишина·вход                left out when there is no linkage
    Ответ:

The voice is the adapter's job; the linkage is what the reply unfolds. Everything that came from outside is one line
with no control characters, so remembered or foreign text cannot open a line of the template, and what is quoted cannot
close its own quotes: quotes inside are the inner ones of the language. Changing a character of the template is a new
version: adapters and receipts name the version they were made with.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

PROMPT_VERSION = 1
LINKAGE_JOINER = "·"

_LABELS = {
    "ru": {
        "style": "Стиль",
        "echo": "Эхо",
        "turn": "Раньше",
        "scene": "Сцена",
        "linkage": "Сцепка",
        "reply": "Ответ",
        "quote": "«{}»",
    },
    "en": {
        "style": "Style",
        "echo": "Echo",
        "turn": "Before",
        "scene": "Scene",
        "linkage": "Linkage",
        "reply": "Reply",
        "quote": "“{}”",
    },
}
_INNER = {"ru": str.maketrans("«»", "„“"), "en": str.maketrans("“”", "‘’")}
_JOINERS = "\u200c\u200d"
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
        style: how to speak, asked for by whoever set up the chat.
    """

    text: str
    language: str
    linkage: Sequence[str] = ()
    echoes: Sequence[str] = ()
    turns: Sequence[str] = ()
    style: str = ""

    def render(self) -> str:
        """The plain-text prompt; the reply follows the last colon after one space."""
        labels = _LABELS[_known(self.language)]
        lines = [style_line(self.style, self.language)] if self.style else []
        lines += [echo_line(echo, self.language) for echo in self.echoes]
        lines += [turn_line(turn, self.language) for turn in self.turns]
        lines.append(f"{labels['scene']}: {one_line(self.text)}")
        if self.linkage:
            lines.append(f"{labels['linkage']}: {LINKAGE_JOINER.join(one_line(word) for word in self.linkage)}")
        lines.append(f"{labels['reply']}:")
        return "\n".join(lines)

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a reply: a blank line (verse uses single ones) or the template opening again."""
        return ("\n\n", *_STOPS)


def style_line(text: str, language: str) -> str:
    """The line that says how to speak."""
    return f"{_LABELS[_known(language)]['style']}: {one_line(text)}"


def echo_line(text: str, language: str) -> str:
    """The line of one recalled scene."""
    return _quoting("echo", text, language)


def turn_line(text: str, language: str) -> str:
    """The line of one earlier text or reply of the chat."""
    return _quoting("turn", text, language)


def _quoting(part: str, text: str, language: str) -> str:
    labels = _LABELS[_known(language)]
    return f"{labels[part]}: {labels['quote'].format(quoted(text, language))}"


def quoted(text: str, language: str) -> str:
    """Foreign text as it stands between quotes: on one line, nothing invisible in it, its own quotes turned inner.

    Invisible is Unicode's Cf: direction marks, tags, soft hyphens. The joiners stay, which emoji and some scripts need.
    """
    seen = "".join(c for c in one_line(text) if unicodedata.category(c) != "Cf" or c in _JOINERS)
    return one_line(seen).translate(_INNER[_known(language)])


def _known(language: str) -> str:
    return "ru" if language == "ru" else "en"


def one_line(text: str) -> str:
    """The text with control characters and all white space folded into single spaces."""
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text).split())


def prompt_sha256(prompt: str) -> str:
    """Hash of the exact prompt, as receipts store it."""
    return hashlib.sha256(prompt.encode()).hexdigest()
