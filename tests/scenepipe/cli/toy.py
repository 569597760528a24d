"""A stage that fills every analysed field by the simplest of rules, so that the command line is tested without a model.

``python toy.py run …`` is the command line with this stage in its registry.
"""

from __future__ import annotations

import re
from typing import ClassVar

from scenepipe.context import Context
from scenepipe.errors import BackendError
from scenepipe.mixture import Mixture, Reason
from scenepipe.scene import (
    Cause,
    Delta,
    Emotion,
    Language,
    Linkage,
    Reading,
    Scene,
    Symbol,
    Tension,
)

WORD = re.compile(r"\w{3,}")
FIELDS = frozenset({"language", "symbols", "hyperscene", "linkage", "emotion", "tension", "delta", "registers"})


class ToyScene:
    """Every word of three letters is a symbol, the word after не or not is a negated one.

    Args:
        fail_on: a text that contains this fails.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = FIELDS

    def __init__(self, *, fail_on: str | None = None) -> None:
        self.fail_on = fail_on

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        if self.fail_on is not None and self.fail_on in scene.text:
            raise BackendError(f"the toy fails on {self.fail_on!r}")
        code = "ru" if re.search("[а-яё]", scene.text) else "en"
        symbols = tuple(_symbol(scene.text, found, code) for found in WORD.finditer(scene.text.lower()))
        far = Symbol(lemma="тишина" if code == "ru" else "silence", language=code, origin="lexicon", score=0.5)
        weights = {"poet": 0.6, "philosopher": 0.3}
        reasons = {name: (Reason(cause="fixed in the pipeline", amount=weight),) for name, weight in weights.items()}
        return scene.with_(
            language=Language(code=code, confidence=0.9),
            symbols=symbols,
            hyperscene=(*symbols, far),
            linkage=Linkage(chain=(*(symbol.key for symbol in symbols[:2]), far.key)),
            emotion=Emotion(valence=Reading(value=-0.25, confidence=0.5)),
            tension=Tension(level=Reading(value=0.5, confidence=0.5), causes=(Cause(name="negation", amount=0.5),)),
            delta=Delta(code=41, codebook="c1", margin=0.1, alternative=2, gloss={"ru": "тело", "en": "body"}),
            registers=scene.registers or Mixture(weights=weights, reasons=reasons),
        )


def _symbol(text: str, found: re.Match[str], code: str) -> Symbol:
    negated = text[: found.start()].lower().split()[-1:] in (["не"], ["not"])
    return Symbol(lemma=found[0], language=code, polarity=-1 if negated else 1, evidence=(found.span(),))


def register() -> None:
    """Give the default registry the name ``toy-scene``."""
    from scenepipe.registry import default_registry

    default_registry().add("stage", "toy-scene", ToyScene)


PIPELINE = """\
scenepipe: 1
name: toy
backend: {{use: fake, delay_s: {delay}}}
encoder: null
registers: [poet, philosopher]
memory: {{use: sqlite, path: "{folder}/archive.db"}}
stages:
  - {{use: toy-scene, fail_on: "{fail_on}"}}
  - {{use: recall, top_k: 2}}
  - {{use: decode, seed: {seed}}}
  - remember
"""


if __name__ == "__main__":
    from scenepipe.cli import main

    register()
    main()
