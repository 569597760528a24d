"""The card says what the scene says, in both languages, at every width."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from scenepipe import events as ev
from scenepipe.cli.card import marked_text, reply_card, scene_card
from scenepipe.cli.facts import Voices, facts, plain_lines, signed
from scenepipe.cli.labels import encounters, language_of, said, tokens, visible, words
from scenepipe.cli.live import LiveCard
from scenepipe.mixture import Mixture
from scenepipe.register import Register
from scenepipe.scene import (
    Cause,
    Delta,
    Echo,
    Emotion,
    Language,
    Linkage,
    Reading,
    Receipt,
    Reply,
    Resonance,
    Scene,
    Symbol,
    Tension,
    Usage,
    new_scene,
)

RUSSIAN = "Почему я не чувствую шаг в себе?"


def voice(name: str, ru: str, en: str, emoji: str) -> Register:
    return Register(name, Path(), {"ru": ru, "en": en}, {}, "~", emoji, "CC0-1.0", {})


VOICES = Voices(
    {"poet": voice("poet", "Поэт", "Poet", "🍃"), "philosopher": voice("philosopher", "Философ", "Philosopher", "🦉")}
)


def full(*, russian: bool = True) -> Scene:
    code = "ru" if russian else "en"
    text = RUSSIAN if russian else "Why can I not feel the step in me?"
    feel, step = ((9, 20), (21, 24)) if russian else ((10, 18), (23, 27))
    symbols = (
        Symbol(lemma="чувствовать" if russian else "feel", language=code, polarity=-1, evidence=(feel,)),
        Symbol(lemma="шаг" if russian else "step", language=code, evidence=(step,)),
    )
    return new_scene(text).with_(
        language=Language(code=code, confidence=0.98),
        symbols=symbols,
        hyperscene=(*symbols, Symbol(lemma="жар" if russian else "heat", language=code, origin="lexicon")),
        linkage=Linkage(chain=("шаг", "жар") if russian else ("step", "heat")),
        delta=Delta(
            code=41, codebook="c1", margin=0.1, alternative=3, gloss={"ru": "тело, порог", "en": "body, threshold"}
        ),
        emotion=Emotion(valence=Reading(value=-0.32), arousal=Reading(value=0.1)),
        tension=Tension(level=Reading(value=0.47), causes=(Cause(name="negation", amount=0.3),)),
        registers=Mixture(weights={"philosopher": 0.3, "poet": 0.5}),
        echoes=(Echo(scene_id="x", text="Где слышно шаг?", reasons=("shared symbols: шаг", "near in meaning: 0.62")),),
        resonance=Resonance(strength=0.35, encounters=2, last=datetime(2026, 11, 21, 9, 0, tzinfo=UTC)),
        reply=Reply(
            text="Шаг тише жара.\nВторая строка.",
            usage=Usage(prompt_tokens=40, reply_tokens=23, seconds=0.84),
            receipt=Receipt(backend="fake", model="m", mode="exact", prompt_version=1, prompt_sha256="0", seed=7),
        ),
        outputs={"text": "…", "emoji": "🔥", "delta": "Δ41@c1"},
    )


def drawn(scene: Scene, width: int, **options: bool) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, record=True, **options)  # type: ignore[arg-type]
    console.print(scene_card(scene, VOICES, title="quickstart", width=width))
    if scene.reply:
        console.print(reply_card(scene.reply.text, scene, width=width))
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 116, 120, 200])
def test_everything_is_said_at_every_width_and_nothing_is_wider(width: int) -> None:
    text = drawn(full(), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for part in (
        RUSSIAN, "ru 0.98", "не:чувствовать", "шаг·жар", "Δ41@c1", "тело, порог", "−0.32", "0.47", "Поэт", "0.50", "Философ",
        "0.30", "основа", "0.20", "«Где слышно шаг?»", "общие символы: шаг", "близко по смыслу: 0.62", "0.35", "2 встречи",
        "Шаг тише жара.", "Вторая строка.", "🔥", "exact · 23 токена · 0.8 с · зерно 7",
    ):  # fmt: skip
        assert part in text, part


def test_an_english_text_has_an_english_card() -> None:
    text = drawn(full(russian=False), 90)
    for part in (
        "not:feel",
        "step·heat",
        "body, threshold",
        "valence −0.32",
        "Poet",
        "base",
        "2 encounters",
        "23 tokens",
        "reply",
    ):
        assert part in text, part
    assert not any(label in text for label in ("основа", "ответ", "сцепка"))


def test_a_wide_terminal_puts_the_voices_beside_the_scene() -> None:
    def line_with(text: str, word: str) -> int:
        return next(n for n, line in enumerate(text.splitlines()) if word in line)

    narrow, wide = drawn(full(), 80), drawn(full(), 120)
    assert line_with(wide, "регистры") == line_with(wide, "символы")
    assert line_with(narrow, "регистры") > line_with(narrow, "напряжение")


def test_bars_are_as_long_as_their_shares() -> None:
    lines = {
        name: line for line in drawn(full(), 80).splitlines() for name in ("Поэт", "Философ", "основа") if name in line
    }
    lengths = {name: line.count("━") + line.count("╸") / 2 for name, line in lines.items()}
    assert lengths["Поэт"] == pytest.approx(16)  # 0.5 of 32 cells
    assert lengths["Философ"] == pytest.approx(9.5)
    assert lengths["основа"] == pytest.approx(6.5)


def test_symbols_are_underlined_where_they_stand_and_negated_ones_marked() -> None:
    spans = {(span.start, span.end): str(span.style) for span in marked_text(full()).spans}
    assert spans == {(9, 20): "underline italic red", (21, 24): "underline"}


def test_a_scene_that_has_just_begun_has_a_card_too() -> None:
    text = drawn(new_scene("Шаг"), 60)
    assert "Шаг" in text
    assert "символы" not in text


def test_a_huge_text_is_cut_on_the_card_alone() -> None:
    text = drawn(new_scene("шаг " * 250_000), 80)
    assert len(text) < 3000
    assert "1,000,000 знаков" in text


def test_the_live_card_takes_the_fields_of_events() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, record=True)
    done = full()
    assert done.reply is not None
    fake = type(
        "P", (), {"name": "quickstart", "steps": [], "resources": type("R", (), {"registers": VOICES.registers})()}
    )()
    card = LiveCard(console, fake, new_scene(RUSSIAN))
    fields = {"language", "symbols", "hyperscene", "linkage", "delta", "tension", "registers", "echoes", "resonance"}
    card.handle(ev.RunStarted(pipeline="quickstart", scene=new_scene(RUSSIAN)))
    card.handle(ev.SceneUpdated(stage="all", fields=done.model_dump(mode="json", include=fields) | {"pieces": []}))
    for name in fields:
        assert getattr(card.scene, name) == getattr(done, name)
    card.handle(ev.Token(text="Шаг тише"))
    card.handle(ev.ReplyFinished(reply=done.reply))
    card.handle(ev.RunFinished(scene=done, seconds=1.0))
    card.close()
    text = console.export_text()
    assert "не:чувствовать" in text
    assert "Вторая строка." in text


def test_plain_lines_hold_the_same_facts() -> None:
    lines = plain_lines(full(), VOICES, "ru")
    assert "регистры: Поэт 0.50, Философ 0.30, основа 0.20" in lines
    assert "напряжение: 0.47 (отрицание)" in lines
    assert "эхо: «Где слышно шаг?» (общие символы: шаг; близко по смыслу: 0.62)" in lines
    assert lines[-4:] == ["ответ:", "Шаг тише жара.\nВторая строка.", "эмодзи: 🔥", "Δ-ответ: Δ41@c1"]


def test_unknown_figures_are_called_unknown() -> None:
    scene = new_scene("x").with_(
        emotion=Emotion(), tension=Tension(), resonance=Resonance(), linkage=Linkage(), symbols=()
    )
    said_of = {fact.key: fact.plain() for fact in facts(scene, VOICES, "en")}
    assert said_of == {
        "symbols": "symbols: none",
        "linkage": "linkage: none",
        "emotion": "emotion: unknown",
        "tension": "tension: unknown",
        "resonance": "resonance: met for the first time",
    }


def test_both_languages_have_every_label() -> None:
    russian, english = words("ru"), words("en")
    assert russian.keys() == english.keys()
    assert words("und") == english
    assert all(russian.values())


@pytest.mark.parametrize(
    ("number", "ru", "en"),
    [(1, "1 встреча", "1 encounter"), (2, "2 встречи", "2 encounters"), (5, "5 встреч", "5 encounters"),
     (11, "11 встреч", "11 encounters"), (21, "21 встреча", "21 encounters"), (112, "112 встреч", "112 encounters")],
)  # fmt: skip
def test_nouns_follow_their_numbers(number: int, ru: str, en: str) -> None:
    assert (encounters(number, "ru"), encounters(number, "en")) == (ru, en)
    assert tokens(23, "ru") == "23 токена"


def test_reasons_of_the_shipped_stages_are_said_in_russian() -> None:
    assert said("near ru-0001 «Зачем?» (cosine 0.62), whose fit is 0.75", "ru") == (
        "рядом ru-0001 «Зачем?» (косинус 0.62), где голос подходит на 0.75"
    )
    assert said("opposite polarity: чувствовать", "ru") == "обратная полярность: чувствовать"
    assert said("negation", "ru") == "отрицание"
    assert said("a reason of a plug-in", "ru") == "a reason of a plug-in"
    assert said("same words", "en") == "same words"


def test_the_language_of_a_scene_is_guessed_from_its_letters_until_it_is_known() -> None:
    assert language_of(new_scene("Почему step?")) == "ru"
    assert language_of(new_scene("Why шаг and more?")) == "en"
    assert language_of(new_scene("🔥")) == "en"
    assert language_of(new_scene("Why?").with_(language=Language(code="ru"))) == "ru"


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.00"), (-0.001, "0.00"), (0.3, "+0.30"), (-0.25, "−0.25")])
def test_signs(value: float, text: str) -> None:
    assert signed(value) == text


@given(st.text())
def test_visible_text_has_the_same_length_and_steers_nothing(text: str) -> None:
    shown = visible(text)
    assert len(shown) == len(text)
    assert not any((ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) <= 0x9F or "\u202a" <= c <= "\u202e" for c in shown)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), st.integers(60, 200))
def test_any_text_can_be_drawn(text: str, width: int) -> None:
    scene = new_scene(text).with_(symbols=(Symbol(lemma=text, language="und", evidence=((0, len(text)),)),))
    assert "╭" in drawn(scene, width)
