"""The folder that ``scenepipe register new`` makes: passes every check but that of having learnt to speak."""

from __future__ import annotations

import json
from pathlib import Path

from scenepipe.cli.guard import Refused
from scenepipe.mixture import REGISTER_NAME
from scenepipe.register import CARD_FILE, EXAMPLES_FILE

_CARD = """\
register: 1
name: {name}
titles:
  ru: {title}
  en: {title}
description:
  ru: Одно предложение о том, как говорит этот голос.
  en: One sentence on how this voice speaks.
symbol: "~"
emoji: "💬"
licence: CC0-1.0
adapters: {{}}
"""

_README = """\
# {name}

**Intent.** What this voice does with a scene, and what it is not for.

**Data.** `examples.jsonl`: who wrote the rows, how many per language and split, under which licence.
Each reply unfolds the two or three words of its `linkage`; `fit` (0 to 1) says how well this voice suits the text.

**Training.** Base model, steps, seed, loss on the dev split; the receipt in `adapters/` holds the hashes.

**Evaluation.** How the replies were judged, on which rows.

**Limits.** Where it fails.

---

**Замысел.** Что этот голос делает со сценой и для чего он не годится.

**Данные.** `examples.jsonl`: кто писал строки, сколько их на каждом языке и в каждой части, по какой лицензии.
Каждый ответ разворачивает два-три слова своей сцепки (`linkage`); `fit` (от 0 до 1) говорит, насколько голос подходит тексту.

**Обучение, проверка, пределы.** То же, что выше.
"""

_ROWS: tuple[tuple[str, str, str, str, tuple[str, ...], str], ...] = (
    ("ru-0001", "ru", "train", "Почему дом молчит?", ("дом", "окно"), "Дом держит свет в окне и ждёт шага."),
    ("ru-0002", "ru", "dev", "Зачем мне тишина?", ("тишина", "вода"), "Тишина стоит, как вода в колодце."),
    ("en-0001", "en", "train", "Why is the house silent?", ("house", "window"), "The house keeps a lit window."),
    ("en-0002", "en", "test", "What is silence for?", ("silence", "water"), "Silence stands like water in a well."),
)


def write_skeleton(name: str, parent: Path) -> Path:
    """Make ``parent/name`` with a card, a README and two rows per language; returns the folder.

    Raises:
        Refused: the name is not one, or the folder is there already.
    """
    if not REGISTER_NAME.fullmatch(name):
        raise Refused(f"register name {name!r} must match {REGISTER_NAME.pattern}, for example night_voice")
    folder = parent.expanduser() / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise Refused(f"{folder} exists already; give another name or folder") from None
    except OSError as error:
        raise Refused(f"{folder} cannot be made: {error.strerror}") from None
    title = name.replace("_", " ").replace("-", " ").strip().capitalize()
    (folder / CARD_FILE).write_text(_CARD.format(name=_quoted(name), title=_quoted(title)), encoding="utf-8")
    (folder / "README.md").write_text(_README.format(name=name), encoding="utf-8")
    (folder / EXAMPLES_FILE).write_text("".join(map(_line, _ROWS)), encoding="utf-8")
    return folder


def _quoted(text: str) -> str:
    """A YAML string whatever the word is: a register may be called ``no`` or ``null``."""
    return json.dumps(text)


def _line(row: tuple[str, str, str, str, tuple[str, ...], str]) -> str:
    keys = ("id", "language", "split", "text", "linkage", "reply")
    return json.dumps({**dict(zip(keys, row, strict=True)), "fit": 0.8}, ensure_ascii=False) + "\n"
