"""A chain met again and again becomes a symbol that can be spoken back: from the tokenizers to what is rendered."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers

from scenepipe.contracts import Archive
from scenepipe.errors import ArchiveError, DeadlineError
from scenepipe.folding.recalled import unfold_symbol
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.mixture import Mixture
from scenepipe.modules.hf_tokenizer import HFTokenizer
from scenepipe.modules.recall import Recall
from scenepipe.modules.remember import Remember
from scenepipe.modules.render import Form, Render, formula
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.modules.sentencepiece import SentencePieceTokenizer
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Hypertoken, Origin, Scene, new_scene

NAME, CHAIN = "шагтишинажар", ("шаг", "тишина", "жар")
TEXTS = ("Шаг, тишина, жар.\r\n", "Снова шаг и тишина: жар! 🙂", "Шаг... Тишина\0... Жар и\u0306.")
FORMS: tuple[Form, ...] = ("symbol", "hypertoken", "unfolded", "formula")
SYMBOLS = {"poet": "≈"}
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Make]:
    folder = tmp_path_factory.mktemp("tokenizers")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["шаг тишина жар"] * 20), model_writer=written, vocab_size=300, byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2, model_type="bpe",
    )  # fmt: skip
    (folder / "small.model").write_bytes(written.getvalue())
    vocabulary = Tokenizer(models.WordLevel({"[UNK]": 0, "шаг": 1}, unk_token="[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary.save(str(folder / "tokenizer.json"))
    return {
        "sentencepiece": lambda **rest: SentencePieceTokenizer(model=str(folder / "small.model"), **rest),
        "hf-tokenizer": lambda **rest: HFTokenizer(path=str(folder), **rest),
    }


@pytest.fixture(params=["sentencepiece", "hf-tokenizer"])
def make_tokenizer(tokenizers: dict[str, Make], request: pytest.FixtureRequest) -> Make:
    return tokenizers[request.param]


@pytest.fixture
def tokenizer(tokenizers: dict[str, Make]) -> Any:
    return tokenizers["hf-tokenizer"]()


def pipeline(tokenizer: Any, archive: Archive | None, **rest: Any) -> Pipeline:
    memory = [Recall(top_k=3), Remember()] if archive is not None else []
    stages = [tokenizer, RuleScene(), *memory]
    return Pipeline(
        [*stages, Render(forms=FORMS)] if archive is not None else stages, archive=archive, given=["registers"], **rest
    )


def scene(text: str, namespace: str = "default") -> Scene:
    return new_scene(text, Origin(namespace=namespace)).with_(registers=Mixture(weights={"poet": 0.5}))


async def run(tokenizer: Any, archive: Archive, texts: Sequence[str], **rest: Any) -> list[Scene]:
    async with pipeline(tokenizer, archive) as pipe:
        return [await pipe.arun(scene(text, **rest)) for text in texts]


def outputs(done: Scene) -> dict[str, str]:
    assert done.outputs is not None
    return done.outputs


def found(done: Scene) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    return [(token.name, token.evidence) for token in done.hypertokens or ()]


def test_a_chain_that_was_met_three_times_is_a_symbol_that_calls_its_scene_back(
    make_tokenizer: Make, tmp_path: Path
) -> None:
    def archive() -> Archive:
        return SqliteArchive(path=str(tmp_path / "a.db"))

    first = asyncio.run(run(make_tokenizer(), archive(), TEXTS))
    assert [found(done) for done in first] == [[], [], [(NAME, ((0, len(TEXTS[2]) - 4),))]]

    [called] = asyncio.run(run(make_tokenizer(), archive(), [NAME]))
    assert found(called) == [(NAME, ((0, len(NAME)),))]
    assert called.linkage is not None
    assert called.linkage.chain == called.linkage.text == CHAIN
    assert called.echoes is not None
    assert {echo.text for echo in called.echoes} == set(TEXTS)
    assert outputs(called)["symbol"] == outputs(called)["hypertoken"] == NAME
    assert outputs(called)["unfolded"] == called.echoes[0].text

    async def earlier() -> tuple[Scene, ...]:
        store = archive()
        await store.open()
        try:
            return await unfold_symbol(store, NAME)
        finally:
            await store.aclose()

    stored = {each.text: each for each in asyncio.run(earlier())}
    assert list(stored) == [echo.text for echo in called.echoes]
    for done in first:
        again = stored[done.text]
        assert (again.field, again.linkage, again.registers, again.delta) == (
            done.field,
            done.linkage,
            done.registers,
            done.delta,
        )
        assert formula(again, SYMBOLS) == formula(done, SYMBOLS)
        assert again.text.encode() == done.text.encode()


def test_however_often_a_symbol_is_called_its_scenes_come_first(tokenizer: Any) -> None:
    archive = MemoryArchive()
    calls = [f"{word} {NAME}" for word in ("и", "а", "но", "снова", "опять", "ещё", "тут", "там")]
    asyncio.run(run(tokenizer, archive, [*TEXTS, "Жар, шаг и тишина", *calls]))
    again, *_ = asyncio.run(run(tokenizer, archive, [NAME]))
    assert again.echoes is not None
    assert {echo.text for echo in again.echoes} == set(TEXTS)


def test_links_one_by_one_call_the_same_scenes(tokenizer: Any) -> None:
    archive = MemoryArchive()
    *_, dotted = asyncio.run(run(tokenizer, archive, [*TEXTS, "шаг·тишина·жар?"]))
    assert found(dotted) == [(NAME, ((0, 14),))]
    assert dotted.linkage is not None
    assert dotted.linkage.chain == CHAIN
    assert outputs(dotted)["unfolded"] in TEXTS


def test_a_chain_in_a_text_is_found_and_changes_nothing_else(tokenizer: Any) -> None:
    text = "Мой шаг, тишина, жар и дождь"
    archive = MemoryArchive()
    *_, with_archive = asyncio.run(run(tokenizer, archive, [*TEXTS, text]))
    alone = pipeline(tokenizer, None)
    with alone as pipe:
        without = pipe.run(scene(text))
    assert found(with_archive) == [(NAME, ((4, 20),))]
    assert without.hypertokens == ()
    assert with_archive.symbols == without.symbols
    assert outputs(with_archive)["unfolded"] == ""


def test_a_namespace_knows_only_its_own_symbols(tokenizer: Any) -> None:
    archive = MemoryArchive()
    asyncio.run(run(tokenizer, archive, TEXTS, namespace="чужой"))
    [here] = asyncio.run(run(tokenizer, archive, [NAME]))
    [there] = asyncio.run(run(tokenizer, archive, [NAME], namespace="чужой"))
    assert found(here) == []
    assert found(there) == [(NAME, ((0, 12),))]


def test_a_name_met_before_it_was_one_is_analysed_again(tokenizer: Any) -> None:
    archive = MemoryArchive()
    asyncio.run(run(tokenizer, archive, [NAME, *TEXTS, NAME]))
    [stored] = asyncio.run(archive.get([scene(NAME).id]))
    assert stored.linkage is not None
    assert stored.linkage.chain == CHAIN


def test_a_linkage_that_is_no_hypertoken_has_no_name(tokenizer: Any) -> None:
    [only] = asyncio.run(run(tokenizer, MemoryArchive(), ["Шаг, тишина, жар."]))
    assert outputs(only)["symbol"] != ""
    assert outputs(only)["hypertoken"] == ""


def test_rows_of_a_batch_are_read_together(make_tokenizer: Make) -> None:
    archive = MemoryArchive()
    asyncio.run(run(make_tokenizer(), archive, TEXTS))

    async def main() -> list[Any]:
        async with pipeline(make_tokenizer(batch_size=5), archive) as pipe:
            rows = [scene(f"{NAME} {n}" if n % 2 else f"дом {n}") for n in range(40)]
            return [row async for row in pipe.map(rows)]

    rows = asyncio.run(main())
    assert [found(row) for row in rows] == [[(NAME, ((0, 12),))] if n % 2 else [] for n in range(40)]


class Slow(MemoryArchive):
    async def hypertokens(self, namespace: str = "default") -> Sequence[Hypertoken]:
        await asyncio.sleep(60)
        return ()


class Broken(MemoryArchive):
    async def hypertokens(self, namespace: str = "default") -> Sequence[Hypertoken]:
        raise ArchiveError("the disk is gone")


def test_an_archive_that_does_not_answer_ends_with_the_deadline(tokenizer: Any) -> None:
    async def main() -> None:
        async with pipeline(tokenizer, Slow(), deadline_s=0.3) as pipe:
            await pipe.arun(scene("шаг"))

    with pytest.raises(DeadlineError, match="deadline_s"):
        asyncio.run(main())


def test_an_archive_that_cannot_be_read_fails_the_scene(tokenizer: Any) -> None:
    with pytest.raises(ArchiveError, match="the disk is gone"):
        asyncio.run(run(tokenizer, Broken(), ["шаг"]))


def test_an_unknown_symbol_says_which_are_near(tokenizer: Any) -> None:
    archive = MemoryArchive()
    asyncio.run(run(tokenizer, archive, TEXTS))
    with pytest.raises(ArchiveError, match="no hypertoken is called 'шагтишина'; did you mean 'шагтишинажар'"):
        asyncio.run(unfold_symbol(archive, "шагтишина"))


def test_only_so_many_scenes_are_unfolded(tokenizer: Any) -> None:
    archive = MemoryArchive()
    asyncio.run(run(tokenizer, archive, TEXTS))
    assert len(asyncio.run(unfold_symbol(archive, "шаг·тишина·жар", limit=2))) == 2
    with pytest.raises(ArchiveError, match="no hypertoken"):
        asyncio.run(unfold_symbol(archive, NAME, namespace="чужой"))
