"""Associations, hyperscene and linkage."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from scenepipe.analysis.builder import SceneBuilder, SceneReading, SceneText
from scenepipe.analysis.lexicon import AXES, shipped_lexicon
from scenepipe.analysis.reading import read_text
from scenepipe.rooms import room
from scenepipe.scene import Symbol

Read = Callable[..., list[SceneReading]]
TEXTS = (
    "Почему я не чувствую шаг в себе?",
    "Why can I not feel the step in me?",
    "Мне страшно",
    "Нет страха во мне",
    "Моя кошка умерла в среду, а я всё покупаю ей корм.",
    "Bread smells different when you are hungry.",
    "Ich habe Angst vor dem dunklen Wald",
)


def associated(reading: SceneReading) -> list[Symbol]:
    return [symbol for symbol in reading.hyperscene if symbol.origin != "text"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_linkage_is_three_nouns_at_least_two_of_them_associated(read: Read, text: str) -> None:
    (reading,) = read(text)
    called = {symbol.lemma for symbol in associated(reading)}
    assert len(reading.linkage.chain) == 3
    assert sum(word in called for word in reading.linkage.chain) >= 2
    own = {symbol.lemma for symbol in read_text(text).symbols}
    assert not called & own, "what the text names itself is not associated with it"


@pytest.mark.parametrize("text", TEXTS)
def test_associations_have_origin_score_and_evidence_in_the_text(read: Read, text: str) -> None:
    for symbol in associated(read(text)[0]):
        assert symbol.origin in ("encoder", "emotion", "lexicon")
        assert 0 < symbol.score <= 1
        assert symbol.part == "noun"
        assert symbol.concept in shipped_lexicon().entries
        assert symbol.evidence
        assert all(0 <= start < end <= len(text) for start, end in symbol.evidence)


def test_the_sources_own_example_goes_from_the_body_to_a_threshold(read: Read) -> None:
    entries = shipped_lexicon().entries
    for text, lost in (("Почему я не чувствую шаг в себе?", "шаг"), ("Why can I not feel the step in me?", "step")):
        (reading,) = read(text)
        axes = [
            entries[s.concept or ""].axes for w in reading.linkage.chain for s in associated(reading) if s.lemma == w
        ]
        assert "bodily" in axes[0]
        assert "spatial" in axes[-1]
        assert lost not in reading.linkage.chain, "what the text cannot reach gives way to what is associated with it"
        assert lost in {symbol.lemma for symbol in reading.hyperscene}


def test_associated_nouns_stand_in_the_order_of_the_axes(read: Read) -> None:
    entries = {entry.ru: entry for entry in shipped_lexicon().symbols}
    chain = read("Мне страшно")[0].linkage.chain
    ranks = [AXES.index(entries[word].leading) for word in chain]
    assert ranks == sorted(ranks)


def test_a_denied_noun_keeps_its_polarity_in_the_chain(read: Read, read_words: Read) -> None:
    for reader in (read, read_words):
        assert reader("Нет страха во мне")[0].linkage.chain[0] == "не:страх"
        assert reader("There is no fear in me")[0].linkage.chain[0] == "not:fear"


def test_denial_and_order_make_another_scene(read: Read, read_words: Read) -> None:
    for reader in (read, read_words):
        for one, other in (("Мне страшно", "Мне не страшно"), ("дрожь тишина вход", "вход тишина дрожь")):
            first, second = reader(one, other)
            assert first.linkage != second.linkage
            assert first.hyperscene != second.hyperscene


def test_translations_share_associations(read: Read) -> None:
    pairs = [(entry.gloss_ru, entry.gloss_en) for entry in shipped_lexicon().symbols[:60]]
    russian, english = read(*(ru for ru, _ in pairs)), read(*(en for _, en in pairs))
    shared = [
        bool({s.concept for s in associated(a)} & {s.concept for s in associated(b)})
        for a, b in zip(russian, english, strict=True)
    ]
    assert sum(shared) >= 0.9 * len(shared)


def test_two_texts_rarely_have_one_linkage(read: Read) -> None:
    lines = (room("registers") / "philosopher" / "examples.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    chains = {reading.linkage.chain for reading in read(*texts)}
    assert len(chains) >= 0.97 * len(texts)


def test_a_stem_calls_its_noun(read_words: Read) -> None:
    (called, *_) = associated(read_words("Зачем тело дрожит?")[0])
    assert (called.lemma, called.origin) == ("дрожь", "lexicon")
    assert called.evidence == ((11, 17),)


def test_an_unknown_text_has_no_linkage(read: Read, read_words: Read) -> None:
    for text in ("🙂🙂🙂", "\0", "שלום עולם"):
        assert read(text)[0].linkage.chain == ()
        assert read(text)[0].hyperscene == ()
    assert read_words("Ich habe Angst vor dem dunklen Wald")[0].linkage.chain == ()


def test_another_language_is_linked_in_english(read: Read) -> None:
    (reading,) = read("Ich habe Angst vor dem dunklen Wald")
    assert set(reading.linkage.chain) <= {entry.en for entry in shipped_lexicon().symbols}
    assert "darkness" in reading.linkage.chain


@pytest.mark.parametrize(("count", "own"), [(0, 3), (1, 2), (2, 1), (6, 0)])
def test_the_number_of_associations_is_kept(builder: SceneBuilder, count: int, own: int) -> None:
    text = "Окно, дверь и лампа"
    limited = SceneBuilder(builder.lexicon, encoder=builder._encoder, vectors=builder._vectors, associations=count)
    (reading,) = limited.read([SceneText(text, *read_text(text))])
    assert len(associated(reading)) == count
    assert sum(word in ("окно", "дверь", "лампа") for word in reading.linkage.chain) == own
    assert len(reading.linkage.chain) == 3


def test_a_noun_of_the_other_language_is_said_in_the_scenes() -> None:
    text = "Я вижу только твой mirror, и больше ничего не помню"
    (reading,) = SceneBuilder(shipped_lexicon(), associations=0).read([SceneText(text, *read_text(text))])
    assert reading.linkage.chain[0] == "зеркало"


def test_a_word_calls_what_is_written_of_it(read_words: Read) -> None:
    (reading,) = read_words("Абажур")
    written = next(e for e in shipped_lexicon().word_associations if e.text == "абажур")
    called = associated(reading)
    assert {symbol.concept for symbol in called} <= set(written.symbols)
    assert {(symbol.origin, symbol.evidence) for symbol in called} == {("lexicon", ((0, 6),))}
