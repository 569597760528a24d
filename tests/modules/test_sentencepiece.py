"""``sentencepiece``: pieces that tile the text, whatever the vocabulary."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenepipe.context import Context, Resources
from scenepipe.errors import ConfigError, ModelError
from scenepipe.models.catalogue import LocalModel
from scenepipe.modules.sentencepiece import SentencePieceTokenizer
from scenepipe.scene import Piece, Scene, new_scene
from scenepipe.testing.stage_suite import StageSuite

CORPUS = ["почему я не чувствую шаг в себе", "why can i not feel the step in me", "дрожь тишина вход"] * 20
TEXT = st.text(st.one_of(st.sampled_from("шагstep \n🙂é\0שא́"), st.characters(codec="utf-8")), min_size=1, max_size=40)


def train(path: Path, **options: Any) -> Path:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=written, vocab_size=330, byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2, **options,
    )  # fmt: skip
    path.write_bytes(written.getvalue())
    return path


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary as Gemma's: bytes for what is unknown, no normalisation but spaces."""
    return train(
        tmp_path_factory.mktemp("sp") / "exact.model",
        model_type="bpe", normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def normalising(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("sp") / "nfkc.model", model_type="unigram")


def run(path: Path, *texts: str) -> list[Scene]:
    stage, resources = SentencePieceTokenizer(model=str(path)), Resources()
    stage.open(resources)
    ctx = Context(resources, run="t", pipeline="t", emit=lambda event: None)
    return stage.run_batch([new_scene(text) for text in texts], ctx)


def pieces(path: Path, text: str) -> tuple[Piece, ...]:
    found = run(path, text)[0].pieces
    assert found is not None
    return found


def assert_tiles(text: str, found: tuple[Piece, ...]) -> None:
    """Spans follow each other without gap or overlap; pieces of one character share its span."""
    end = 0
    for index, piece in enumerate(found):
        assert piece.text == text[slice(*piece.span)]
        repeats = index > 0 and piece.span == found[index - 1].span
        assert repeats or piece.span[0] == end
        end = piece.span[1]
    assert end == len(text)


class TestSuite(StageSuite):
    @pytest.fixture(autouse=True)
    def _model(self, exact: Path) -> None:
        self.path = exact

    def make_stage(self) -> SentencePieceTokenizer:
        return SentencePieceTokenizer(model=str(self.path))


def test_language_and_symbols_come_with_the_pieces(exact: Path) -> None:
    (scene,) = run(exact, "Почему я не чувствую шаг в себе?")
    assert scene.language is not None
    assert scene.language.code == "ru"
    assert [symbol.key for symbol in scene.symbols or ()] == ["не:чувствовать", "шаг"]
    assert scene.hypertokens == ()


def test_bytes_of_one_character_share_its_span(exact: Path) -> None:
    found = pieces(exact, "шаг 🙂!")
    smile = [piece for piece in found if piece.text == "🙂"]
    assert len(smile) == 4
    assert {piece.span for piece in smile} == {(4, 5)}
    assert_tiles("шаг 🙂!", found)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT)
def test_pieces_tile_any_text(exact: Path, text: str) -> None:
    if text.strip():
        assert_tiles(text, pieces(exact, text))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT)
def test_a_normalising_vocabulary_keeps_spans_inside_the_text(normalising: Path, text: str) -> None:
    if text.strip():
        found = pieces(normalising, text)
        assert all(piece.text == text[slice(*piece.span)] for piece in found)
        assert all(a.span[0] <= b.span[0] for a, b in pairwise(found))


def test_a_dummy_prefix_has_no_surface(normalising: Path) -> None:
    found = pieces(normalising, "🙂")
    assert found[0].span == (0, 0)
    assert {piece.span for piece in found[1:]} == {(0, 1)}


def test_a_batch_says_what_each_text_says(exact: Path) -> None:
    texts = ["Мне страшно", "I am afraid", "🙂"]
    assert [scene.pieces for scene in run(exact, *texts)] == [pieces(exact, text) for text in texts]


def test_the_pipelines_model_gives_the_vocabulary(exact: Path) -> None:
    model = LocalModel(id="m", gguf=exact, sha256="0", tokenizer=exact, tokenizer_sha256="0")
    stage = SentencePieceTokenizer()
    assert "model" in stage.needs
    stage.open(Resources(model=model))
    assert "model" not in SentencePieceTokenizer(model=str(exact)).needs


@pytest.mark.model
def test_the_default_models_vocabulary_tiles(local_model: LocalModel) -> None:
    assert local_model.tokenizer is not None
    for text in ("Почему я не чувствую шаг в себе?", "a\0b 🙂 שלום\r\n  ﬁ", "́́"):
        assert_tiles(text, pieces(local_model.tokenizer, text))


def test_no_vocabulary_is_refused_with_what_to_give(exact: Path, tmp_path: Path) -> None:
    model = LocalModel(id="bytes", gguf=exact, sha256="0", tokenizer=None, tokenizer_sha256="0")
    for resources in (Resources(), Resources(model=model)):
        with pytest.raises(ConfigError, match="give 'model'"):
            SentencePieceTokenizer().open(resources)
    with pytest.raises(ModelError, match="there is no SentencePiece model"):
        SentencePieceTokenizer(model=str(tmp_path / "gone.model")).open(Resources())
    (tmp_path / "bad.model").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="is not a SentencePiece model"):
        SentencePieceTokenizer(model=str(tmp_path / "bad.model")).open(Resources())
    with pytest.raises(ConfigError, match="batch_size"):
        SentencePieceTokenizer(batch_size=0)


def test_a_long_text_keeps_every_piece(exact: Path) -> None:
    text = "Почему я не чувствую шаг в себе?\n" * 3000
    assert_tiles(text, pieces(exact, text))


def test_it_counts_what_it_would_cut(exact: Path, normalising: Path) -> None:
    for path in (exact, normalising):
        stage = SentencePieceTokenizer(model=str(path))
        stage.open(Resources())
        for text in ("шаг", "почему 🙂\n step", "  a  b "):
            assert stage.count(text) == len(pieces(path, text))
