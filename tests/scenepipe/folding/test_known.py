"""Hypertokens in new text: by name in any spelling, by their chain, with spans, and never inside another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.analysis.reading import read_text
from scenepipe.context import Context, Resources
from scenepipe.folding.known import Index, Known, Reading
from scenepipe.folding.named import NAMED_VERSION, named, spoken_back
from scenepipe.memory.memory import MemoryArchive
from scenepipe.scene import Analysis, Hypertoken, Linkage, Origin, Scene, Symbol, new_scene
from scenepipe.testing.archive_material import scene_of

STEP = Hypertoken(name="шагтишинажар", chain=("шаг", "тишина", "жар"))
FEAR = Hypertoken(name="нестрахмост", chain=("не:страх", "мост"))
RIVER = Hypertoken(name="мост·река", chain=("мост", "река"))
LONG = Hypertoken(name="мострекасветдом", chain=("мост", "река", "свет", "дом"))
NOTICE = Hypertoken(name="notice", chain=("not:fear", "ice"))
TREE = Hypertoken(name="ёлкашаг", chain=("ёлка", "шаг"))
KNOWN = (STEP, FEAR, RIVER, LONG, NOTICE, TREE)


def index_of(*tokens: Hypertoken) -> Index:
    index = Index()
    index.update(tokens or KNOWN)
    return index


def read(text: str, *tokens: Hypertoken) -> Reading:
    return index_of(*tokens).read(text, read_text(text).symbols)


def found(text: str, *tokens: Hypertoken) -> list[tuple[str, list[str]]]:
    """Names with the pieces of the text that they were found in."""
    return [(t.name, [text[start:end] for start, end in t.evidence]) for t in read(text, *tokens).hypertokens]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("шагтишинажар", [("шагтишинажар", ["шагтишинажар"])]),
        ("Почему «Шаг\u0301тишинаЖАР»?", [("шагтишинажар", ["Шаг\u0301тишинаЖАР"])]),
        ("шаг·тишина·жар и шагтишинажар", [("шагтишинажар", ["шаг·тишина·жар", "шагтишинажар"])]),
        ("елкашаг, ЁЛКАШАГ", [("ёлкашаг", ["елкашаг", "ЁЛКАШАГ"])]),
        ("не:страх·мост", [("нестрахмост", ["не:страх·мост"])]),
        ("нестрахмост", [("нестрахмост", ["нестрахмост"])]),
        ("Шаг, и тишина, и жар!", [("шагтишинажар", ["Шаг, и тишина, и жар"])]),
        ("Шаги. Тишины! Жаром", [("шагтишинажар", ["Шаги. Тишины! Жаром"])]),
        ("жар, тишина, шаг", []),
        ("шаг, дом, тишина, жар", []),
        ("шагтишинажара шагтишина тишинажар", []),
        ("мост·река", [("мост·река", ["мост·река"])]),
        ("мострека", []),
        ("мост, река, свет, дом, мост, река", [("мострекасветдом", ["мост, река, свет, дом"]), ("мост·река", ["мост, река"])]),
        ("", []),
        ("🙂 \0 \r\n", []),
    ],
)  # fmt: skip
def test_what_is_found(text: str, expected: list[tuple[str, list[str]]]) -> None:
    assert found(text) == expected


def test_a_word_of_the_dictionary_is_that_word_and_dots_are_not() -> None:
    assert found("Did you notice?") == []
    assert found("not:fear·ice") == [("notice", ["not:fear·ice"])]


def test_a_joined_name_unfolds_to_the_symbols_of_its_chain() -> None:
    text = "Снова шагтишинажар и мост"
    symbols = read(text).symbols
    assert [(symbol.key, symbol.origin) for symbol in symbols] == [
        ("шаг", "archive"), ("тишина", "archive"), ("жар", "archive"), ("мост", "text"),
    ]  # fmt: skip
    assert {text[slice(*symbol.evidence[0])] for symbol in symbols[:3]} == {"шагтишинажар"}
    assert [symbol.concept for symbol in symbols[:3]] == ["step", "silence", "heat"]
    assert all(symbol.part == "noun" and symbol.score > 0.5 for symbol in symbols)


def test_a_name_beside_its_own_symbol_adds_a_place_to_it() -> None:
    text = "мост и нестрахмост"
    symbols = {symbol.key: symbol for symbol in read(text).symbols}
    assert [text[slice(*span)] for span in symbols["мост"].evidence] == ["мост", "нестрахмост"]
    assert symbols["не:страх"].polarity == -1
    assert symbols["не:страх"].language == "ru"
    assert symbols["мост"].origin == "text"


def test_links_with_dots_keep_the_texts_own_symbols() -> None:
    text = "шаг·тишина·жар"
    assert read(text).symbols == read_text(text).symbols


def test_links_that_no_dictionary_knows_are_nouns_of_their_alphabet() -> None:
    odd = Hypertoken(name="блзркrztыы", chain=("блзрк", "not:rzt", "ыы"))
    symbols = read("не:блзрк блзркrztыы", odd).symbols
    assert [(s.lemma, s.polarity, s.part, s.language) for s in symbols if s.origin == "archive"] == [
        ("блзрк", 1, "noun", "ru"), ("rzt", -1, "noun", "en"), ("ыы", 1, "noun", "ru"),
    ]  # fmt: skip


def test_a_long_name_is_found_whole() -> None:
    chain = tuple(f"{letter * 11}" for letter in "бвгджзкл")
    token = Hypertoken(name="".join(chain), chain=chain)
    assert found(f"А {token.name.upper()}!", token) == [(token.name, [token.name.upper()])]
    assert found(f"А {token.name[:-1]}!", token) == []


def test_without_hypertokens_symbols_stay_as_they_are() -> None:
    symbols = read_text("шаг").symbols
    index = Index()
    assert index.read("шаг", symbols) == Reading(symbols, ())
    assert index.read("шаг", symbols).symbols is symbols


@given(st.lists(st.sampled_from(KNOWN)), st.lists(st.sampled_from(KNOWN)))
@settings(max_examples=60, deadline=None)
def test_an_index_that_was_brought_up_to_date_is_a_fresh_one(
    one: Sequence[Hypertoken], two: Sequence[Hypertoken]
) -> None:
    index = Index()
    for tokens in (tuple(dict.fromkeys(one)), tuple(dict.fromkeys(two))):
        index.update(tokens)
        fresh = Index()
        fresh.update(tokens)
        for text in ("шагтишинажар", "мост, река, свет, дом", "не:страх·мост", "ёлкашаг"):
            symbols = read_text(text).symbols
            assert index.read(text, symbols) == fresh.read(text, symbols)


@given(st.text(st.one_of(st.sampled_from("шагтишинажар·:- мостре"), st.characters(codec="utf-8")), max_size=40))
@settings(deadline=None)
def test_any_text_is_read_with_spans_inside_it(text: str) -> None:
    reading = read(text)
    spans = sorted(span for token in reading.hypertokens for span in token.evidence)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


# --- Spoken back -----------------------------------------------------------------------------------------------------


def analysed(text: str) -> Scene:
    reading = read(text)
    linkage = Linkage(chain=("эхо", "снег"), text=("шаг",))
    return new_scene(text).with_(**reading._asdict(), linkage=linkage, analysis=Analysis(analysers=("a@1",)))


def test_a_scene_that_calls_a_name_has_its_chain_for_a_linkage() -> None:
    scene = spoken_back(analysed("Почему шагтишинажар?"))
    assert scene.linkage == Linkage(chain=STEP.chain, text=("шаг",))
    assert scene.linkage.joined == STEP.name
    assert scene.analysis == Analysis(analysers=("a@1", NAMED_VERSION))
    assert spoken_back(scene) == scene


def test_several_names_follow_each_other() -> None:
    scene = spoken_back(analysed("мост·река, потом шагтишинажар"))
    assert scene.linkage is not None
    assert scene.linkage.chain == ("мост", "река", "шаг", "тишина", "жар")
    assert [token.name for token in named(scene)] == ["мост·река", "шагтишинажар"]


@pytest.mark.parametrize("text", ["Шаг, тишина, жар.", "мост и дом", "🙂"])
def test_a_scene_that_calls_no_name_stays_as_it_is(text: str) -> None:
    scene = analysed(text)
    assert spoken_back(scene) is scene
    assert named(new_scene(text)) == ()


# --- Asking the archive ----------------------------------------------------------------------------------------------


class Asked(MemoryArchive):
    """Remembers which namespaces it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def hypertokens(self, namespace: str = "default") -> Sequence[Hypertoken]:
        self.asked.append(namespace)
        return await super().hypertokens(namespace)


def test_each_namespace_has_its_own_and_is_asked_about_once_per_batch() -> None:
    archive = Asked()
    rows = [("свой", ("шаг", "тишина", "жар")), ("чужой", ("мост", "река", "свет"))]
    scenes = [scene_of(f"{n}", linkage=chain, namespace=space) for space, chain in rows for n in range(2)]
    asyncio.run(archive.append(scenes, []))
    texts = ["шагтишинажар мострекасвет", "шагтишинажар"]
    batch = [new_scene(text, Origin(namespace=space)) for space, _ in rows for text in texts]
    ctx = Context(Resources(archive=archive), run="t", pipeline="t", emit=lambda event: None)
    readings = Known().read(batch, [read_text(scene.text).symbols for scene in batch], ctx)
    assert [[token.name for token in reading.hypertokens] for reading in readings] == [
        ["шагтишинажар"], ["шагтишинажар"], ["мострекасвет"], [],
    ]  # fmt: skip
    assert archive.asked == ["свой", "чужой"]


def test_a_pipeline_without_an_archive_finds_nothing() -> None:
    ctx = Context(Resources(), run="t", pipeline="t", emit=lambda event: None)
    own: tuple[Symbol, ...] = read_text("шаг").symbols
    assert Known().read([new_scene("шаг")], [own], ctx) == [Reading(own, ())]
