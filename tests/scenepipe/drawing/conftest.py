"""Two scenes with every field filled, and one that nothing has analysed."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from scenepipe.mixture import Mixture
from scenepipe.scene import (
    Analysis,
    Cause,
    Delta,
    Echo,
    Emotion,
    Language,
    Linkage,
    Reading,
    Resonance,
    Rhythm,
    Scene,
    SemanticField,
    Symbol,
    Tension,
    new_scene,
)

VERSE = (
    "Над тёмной рекой не смолкает вода,\nИ ветер качает огни.\n\nЯ слышу, как мимо проходят года,\nИ тихо считаю я дни."
)
PROSE = "I walked home along the river last night. Nobody called, and I did not sleep until morning."
CREATED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
AXES = ("bodily", "inner", "sensory", "natural", "social", "temporal", "abstract", "spatial")


def spans(text: str, word: str) -> tuple[tuple[int, int], ...]:
    return tuple(found.span() for found in re.finditer(re.escape(word), text))


@pytest.fixture
def bare() -> Scene:
    return new_scene("Ночь.", created=CREATED)


@pytest.fixture
def verse() -> Scene:
    river = Symbol(lemma="река", language="ru", score=0.9, evidence=spans(VERSE, "рекой"))
    hush = Symbol(lemma="смолкать", language="ru", polarity=-1, score=0.6, evidence=spans(VERSE, "смолкает"))
    years = Symbol(lemma="год", language="ru", score=0.5, evidence=spans(VERSE, "года"))
    silence = Symbol(lemma="тишина", language="ru", origin="lexicon", score=0.71)
    night = Symbol(lemma="ночь", language="ru", origin="encoder", score=0.55, polarity=-1)
    return new_scene(VERSE, created=CREATED).with_(
        language=Language(code="ru", confidence=0.99),
        symbols=(river, hush, years),
        hyperscene=(river, hush, silence, night),
        linkage=Linkage(chain=("река", "не:смолкать", "тишина")),
        rhythm=Rhythm(
            words=22,
            lines=4,
            syllables=Reading(value=38, confidence=1.0),
            syllables_per_line=(11, 8, 11, 8),
            pauses=tuple(found.span() for found in re.finditer(r"[,.]|\n+", VERSE)),
            stress=Reading(value="x+--+--+--+|x+--+--+|x+--+--+--+|x+--?x-+", confidence=0.9),
            metre=Reading(value="amphibrach", confidence=0.91),
        ),
        emotion=Emotion(
            valence=Reading(value=-0.5, confidence=0.8),
            arousal=Reading(value=0.25, confidence=0.7),
            dominance=Reading(),
        ),
        tension=Tension(
            level=Reading(value=0.4, confidence=0.6),
            causes=(Cause(name="negation", amount=0.25), Cause(name="contrast", amount=0.2)),
        ),
        field=SemanticField(
            axes="axes@1", weights=dict(zip(AXES, (0.05, 0.2, 0.2, 0.4, 0.0, 0.1, 0.0, 0.05), strict=True))
        ),
        delta=Delta(
            code=41, codebook="c1", margin=0.071, alternative=33, gloss={"ru": "вода, ночь", "en": "water, night"}
        ),
        registers=Mixture(weights={"poet": 0.5, "philosopher": 0.25}),
        echoes=(Echo(scene_id="e", text="Тихая вода.", reasons=("shared symbols: вода",)),),
        resonance=Resonance(strength=0.6, encounters=3),
        analysis=Analysis(encoder="usem3@0", codebook="c1"),
    )


@pytest.fixture
def prose() -> Scene:
    words = [Symbol(lemma=w, language="en", evidence=spans(PROSE, w)) for w in ("river", "night", "morning")]
    asleep = Symbol(lemma="sleep", language="en", polarity=-1, evidence=spans(PROSE, "sleep"))
    far = Symbol(lemma="twilight", language="en", origin="archive", score=0.5)
    return new_scene(PROSE, created=CREATED).with_(
        language=Language(code="en", confidence=0.98),
        symbols=(*words, asleep),
        hyperscene=(*words, far),
        linkage=Linkage(chain=("river", "night", "twilight")),
        rhythm=Rhythm(words=17, lines=1, syllables=Reading(value=24, confidence=0.7), syllables_per_line=(24,)),
        emotion=Emotion(valence=Reading(value=0.1, confidence=0.5)),
        tension=Tension(level=Reading(value=0.3, confidence=0.5)),
        field=SemanticField(axes="axes@1", weights={"natural": 0.5, "temporal": 0.3, "bodily": 0.2}),
        delta=Delta(code=24, codebook="c1", margin=0.04, alternative=22, gloss={"ru": "вода", "en": "water"}),
        registers=Mixture(weights={"poet": 0.6}),
    )
