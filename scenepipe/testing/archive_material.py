"""What the conformance suites of an archive are made of: scenes, encounters and queries, and how one is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, TypeVar

import pytest

from scenepipe.contracts import Archive, Encounter, EncounterKind, Query
from scenepipe.mixture import Mixture
from scenepipe.recall import shape_of
from scenepipe.scene import (
    Analysis,
    Linkage,
    Origin,
    Scene,
    SemanticField,
    Symbol,
    Vector,
    new_scene,
)

T = TypeVar("T")
ArchiveFactory = Callable[..., Archive]

NOON = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
ENCODER = "suite-encoder@1"
TEXTS = (
    "Почему я не чувствую шаг в себе?",
    "Why can I not feel the step in me?",
    "nul \x00 inside",
    "emoji 🙂👩‍👩‍👧‍👦 and \U0010fffd",
    "й и\u0306 е\u0308 e\u0301 \u00ad\u200b",
    "\r\nтри\rстроки\n\t",
    "'; DROP TABLE scenes; --",
    "\ufeff\u202eright to left",
    "длинный " * 20_000,
)


def scene_of(
    text: str,
    symbols: Sequence[str] = (),
    *,
    linkage: Sequence[str] = (),
    vector: Sequence[int] | None = None,
    namespace: str = "default",
    analysers: Sequence[str] = ("suite@1",),
) -> Scene:
    """An analysed scene: symbols are keys (``не:шаг``), the vector is signed bytes."""
    kept = None
    if vector is not None:
        kept = Vector(data=bytes(component % 256 for component in vector), encoder=ENCODER)
    return new_scene(text, Origin(namespace=namespace), created=NOON).with_(
        symbols=tuple(_symbol(key) for key in symbols),
        linkage=Linkage(chain=tuple(linkage)),
        field=SemanticField(axes="suite@1", vector=kept),
        analysis=Analysis(analysers=tuple(analysers), encoder=ENCODER),
        registers=Mixture(weights={"poet": 0.5}),
    )


def encounter_of(
    scene: Scene, name: str, *, kind: EncounterKind = "met", minutes: int = 0, **rest: object
) -> Encounter:
    """An encounter ``minutes`` after noon."""
    values = {"id": name, "scene_id": scene.id, "kind": kind, "at": NOON + timedelta(minutes=minutes)}
    return Encounter.model_validate(values | {"namespace": scene.origin.namespace} | rest)


def query_of(scene: Scene, **rest: object) -> Query:
    """The query that `scenepipe.modules.recall` builds for a scene."""
    vector = scene.field.vector if scene.field else None
    values: dict[str, object] = {
        "namespace": scene.origin.namespace,
        "scene_id": scene.id,
        "key": scene.key,
        "shape": shape_of(scene),
        "linkage": scene.linkage.chain if scene.linkage else (),
        "symbols": tuple(symbol.key for symbol in scene.symbols or ()),
        "vector": vector.data if vector else None,
        "encoder": vector.encoder if vector else None,
    }
    return Query.model_validate(values | rest)


def _symbol(key: str) -> Symbol:
    prefix, _, lemma = key.partition(":")
    if prefix in ("не", "not") and lemma:
        return Symbol(lemma=lemma, language="ru" if prefix == "не" else "en", polarity=-1)
    return Symbol(lemma=key, language="ru")


def common_archive() -> tuple[list[Scene], list[Encounter]]:
    """A small archive of which every derived figure is known; see `COMMON_HITS`."""
    home, quiet = ["страшно", "дом"], ["тишина", "дом"]
    scenes = [
        scene_of("Мне страшно дома.", home, linkage=home, vector=[100, 5, 0]),
        scene_of("Мне не страшно дома.", ["не:страшно", "дом"], linkage=["не:страшно", "дом"], vector=[100, 0, 20]),
        scene_of("Дом и тишина", quiet, linkage=quiet, vector=[60, 80, 0]),
        scene_of("Тишина, дом", quiet, linkage=quiet, vector=[80, 60, 0]),
        scene_of("Silence at home", ["silence", "home"], linkage=["silence", "home"], vector=[59, 80, 0]),
        scene_of("Порог", ["порог"], linkage=["порог"]),
        scene_of("Порог", ["порог", "дом"], linkage=["порог"], analysers=["suite@2"]),
        scene_of("Шаг", ["шаг"], vector=[100, 0, 0, 0]),
        scene_of("Мне страшно дома.", home, linkage=home, vector=[100, 5, 0], namespace="чужой"),
    ]
    made = (0, 5, 2, 3, 4, 1, 1, 6, 7)
    scenes = [s.with_(created=NOON + timedelta(minutes=after)) for s, after in zip(scenes, made, strict=True)]
    log = [encounter_of(scene, f"{n}", chat="a" if n in (0, 2, 4) else "b") for n, scene in enumerate(scenes)]
    again = encounter_of(scenes[2], "again", chat="a")
    return scenes, [*log, again, encounter_of(scenes[0], "said", kind="spoken", chat="b", minutes=1)]


_FEAR = Query(symbols=("страшно", "дом"), vector=bytes([100, 0, 0]), encoder=ENCODER)
COMMON_HITS: tuple[tuple[Query, tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...]], ...] = (
    (
        _FEAR,
        (
            ("Мне страшно дома.", ("shared symbols: страшно, дом", "near in meaning: 1.00"), (1, 2, 1)),
            (
                "Мне не страшно дома.",
                ("opposite polarity: страшно", "shared symbols: дом", "near in meaning: 0.98"),
                (2, 1, 2),
            ),
            ("Тишина, дом", ("shared symbols: дом", "near in meaning: 0.80"), (3, 3, 3)),
            ("Дом и тишина", ("shared symbols: дом", "near in meaning: 0.60"), (4, 4, 4)),
            ("Порог", ("shared symbols: дом",), (5, 5)),
            ("Silence at home", ("near in meaning: 0.59",), (5,)),
        ),
    ),
    (
        _FEAR.model_copy(update={"chat": "a"}),
        (
            ("Мне страшно дома.", ("shared symbols: страшно, дом", "near in meaning: 1.00"), (1, 1, 1)),
            ("Дом и тишина", ("shared symbols: дом", "near in meaning: 0.60"), (2, 2, 2)),
            ("Silence at home", ("near in meaning: 0.59",), (3,)),
        ),
    ),
    (
        Query(symbols=("тишина", "дом"), linkage=("тишина", "дом")),
        (
            ("Тишина, дом", ("same linkage", "shared symbols: тишина, дом"), (1, 1, 1)),
            ("Дом и тишина", ("same linkage", "shared symbols: тишина, дом"), (2, 2, 2)),
            ("Мне не страшно дома.", ("shared symbols: дом",), (3, 3)),
            ("Порог", ("shared symbols: дом",), (4, 4)),
            ("Мне страшно дома.", ("shared symbols: дом",), (5, 5)),
        ),
    ),
    (Query(symbols=("шаг",), namespace="чужой"), ()),
)
"""Queries of the common archive: text, reasons and ranks (by symbols, by words, by vector) of each hit, by hand.

Two ranks are those by symbols and by words, one is that by vector; `score_of` makes a score of them. Of the first query:
by symbols, equal polarity counts before shared lemmas; by words, "страшно" weighs ln(1 + 8/2) and "дом" ln(1 + 8/5), so
the two that have both are equal and the newer leads; by cosine 0.9988, 0.9806, 0.8, 0.6 and 0.5936. Ties go to the newer
scene. A scene that is the same stands at the head of all three lists.
"""


class ArchiveCase:
    """Opens the archives of the fixture ``archive_factory``, which a subclass provides."""

    persistent: ClassVar[bool] = True

    @pytest.fixture
    def archive_factory(self) -> ArchiveFactory:
        raise NotImplementedError("a conformance test provides the fixture archive_factory")

    def use(self, factory: ArchiveFactory, body: Callable[[Archive], Awaitable[T]], name: str = "archive") -> T:
        """Open an archive, run the body, close it."""

        async def main() -> T:
            archive = factory(name)
            await archive.open()
            try:
                return await body(archive)
            finally:
                await archive.aclose()

        return asyncio.run(main())


def score_of(ranks: Sequence[int]) -> float:
    """The score that these ranks make: a quarter by symbols, a quarter by words, half by vector; 6 / (5 + rank) of each."""
    shares = {3: (0.25, 0.25, 0.5), 2: (0.25, 0.25), 1: (0.5,)}[len(ranks)]
    return sum(share * 6 / (5 + rank) for share, rank in zip(shares, ranks, strict=True))
