"""``hf-tokenizer``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from scenepipe.context import Context, Resources
from scenepipe.errors import ConfigError, ModelError
from scenepipe.modules.hf_tokenizer import HFTokenizer
from scenepipe.scene import Piece, Scene, new_scene
from scenepipe.testing.stage_suite import StageSuite


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE, as GPT-2's and Qwen's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["почему я не чувствую шаг в себе", "why can i not feel the step"] * 10, trainer)
    file = tmp_path_factory.mktemp("hf") / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def run(path: Path, *texts: str) -> list[Scene]:
    stage, resources = HFTokenizer(path=str(path)), Resources()
    stage.open(resources)
    ctx = Context(resources, run="t", pipeline="t", emit=lambda event: None)
    return stage.run_batch([new_scene(text) for text in texts], ctx)


def assert_tiles(text: str, found: tuple[Piece, ...]) -> None:
    end = 0
    for index, piece in enumerate(found):
        assert piece.text == text[slice(*piece.span)]
        shares = index > 0 and piece.span[0] < end
        assert shares or piece.span[0] == end
        end = max(end, piece.span[1])
    assert end == len(text)


class TestSuite(StageSuite):
    @pytest.fixture(autouse=True)
    def _tokenizer(self, path: Path) -> None:
        self.path = path

    def make_stage(self) -> HFTokenizer:
        return HFTokenizer(path=str(self.path))


def test_language_symbols_and_pieces(path: Path) -> None:
    (scene,) = run(path, "Почему я не чувствую шаг в себе?")
    assert scene.language is not None
    assert scene.language.code == "ru"
    assert [symbol.key for symbol in scene.symbols or ()] == ["не:чувствовать", "шаг"]
    assert scene.pieces


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.one_of(st.sampled_from("шагstep 🙂\0"), st.characters(codec="utf-8")), min_size=1, max_size=30))
def test_byte_level_pieces_cover_any_text(path: Path, text: str) -> None:
    if text.strip():
        found = run(path, text)[0].pieces
        assert found is not None
        assert_tiles(text, found)


def test_a_folder_will_do(path: Path) -> None:
    assert run(path.parent, "шаг")[0].pieces == run(path, "шаг")[0].pieces


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no tokenizer"):
        HFTokenizer(path=str(tmp_path)).open(Resources())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"is not a tokenizer\.json"):
        HFTokenizer(path=str(tmp_path)).open(Resources())
    with pytest.raises(ConfigError, match="batch_size"):
        HFTokenizer(path="x", batch_size=0)


def test_it_counts_what_it_would_cut(path: Path) -> None:
    stage = HFTokenizer(path=str(path))
    stage.open(Resources())
    for text in ("шаг", "почему 🙂\n step"):
        (scene,) = run(path, text)
        assert stage.count(text) == len(scene.pieces or ())
