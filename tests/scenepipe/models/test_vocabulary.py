from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.errors import ModelError
from scenepipe.models import vocabulary
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.gguf_header import GGUFHeader, read_header

TEXTS = [
    "Почему я не чувствую шаг в себе?",
    "Why can I not feel the step in me?",
    "ё е́ й — «кавычки», тире… №5",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 🇷🇺 👍🏽",
    "",
    " ",
    "  два   пробела    подряд  ",
    "\n\n\nстрока\r\n\tтаб\n",
    "漢字かな العربية עברית ไทย 𒀀 𐍈",
    "\x00\x01\x7f\ufeff\u200b\u00ad\u00a0\u3000",
    "<bos><start_of_turn>user<end_of_turn><0x0A>[multimodal]<unused5>",
    "\U0010ffff\U000e0001",
    "Сцена: тишина\nСцепка: шаг·жар\nОтвет:",
    "а" * 300,
]


@pytest.fixture
def header(tiny_gguf: Callable[..., Path]) -> GGUFHeader:
    return read_header(tiny_gguf())


def encoder(header: GGUFHeader) -> Any:
    return sentencepiece.SentencePieceProcessor(model_proto=vocabulary.sentencepiece_model(header))


def changed(header: GGUFHeader, **values: Any) -> GGUFHeader:
    keys = {f"tokenizer.ggml.{name}": value for name, value in values.items()}
    return replace(header, metadata={**header.metadata, **keys})


def test_merges_go_by_score_and_unknown_characters_to_bytes(header: GGUFHeader) -> None:
    pieces = encoder(header)
    assert pieces.encode("шаг ab", out_type=str) == ["шаг", "▁ab"]
    assert pieces.encode("ю", out_type=str) == ["<0xD1>", "<0x8E>"]
    assert pieces.decode(pieces.encode("шаг ab ю\n")) == "шаг ab ю\n"
    assert pieces.encode("a  b", out_type=str) == ["a", "▁▁", "b"], "the user-defined piece of two spaces wins"


def test_ids_are_the_places_in_the_gguf(header: GGUFHeader) -> None:
    pieces, tokens = encoder(header), header.metadata["tokenizer.ggml.tokens"]
    assert pieces.get_piece_size() == len(tokens)
    assert [pieces.id_to_piece(n).replace("▁▁", "  ").encode() for n in range(len(tokens))] == tokens
    assert (pieces.bos_id(), pieces.eos_id(), pieces.unk_id()) == (1, 2, 0)


def test_a_dummy_prefix_only_where_the_model_wants_one(header: GGUFHeader) -> None:
    assert encoder(header).encode("a", out_type=str) == ["a"]
    assert encoder(changed(header, add_space_prefix=True)).encode("a", out_type=str) == ["▁a"]


def test_doubled_and_empty_surfaces_do_not_move_ids(header: GGUFHeader) -> None:
    tokens = list(header.metadata["tokenizer.ggml.tokens"])
    tokens[260], tokens[261] = tokens[259], b""
    pieces = encoder(changed(header, tokens=tokens))
    assert pieces.piece_to_id("▁") == 260
    assert pieces.get_piece_size() == len(tokens)


def test_tokens_and_scores_that_disagree_are_refused(header: GGUFHeader) -> None:
    with pytest.raises(ModelError, match="they must agree"):
        vocabulary.sentencepiece_model(changed(header, scores=[0.0]))


def test_the_hash_sees_tokens_scores_types_and_merges(header: GGUFHeader, tiny_gguf: Callable[..., Path]) -> None:
    data = header.metadata
    scores, types = data["tokenizer.ggml.scores"].copy(), data["tokenizer.ggml.token_type"].copy()
    scores[-1] -= 1
    types[-1] = 1
    tokens = [*data["tokenizer.ggml.tokens"][:-1], b"x"]
    bpe = read_header(tiny_gguf("bpe.gguf", kind="gpt2"))
    fewer = changed(bpe, merges=bpe.metadata["tokenizer.ggml.merges"][:-1])
    headers = [
        header,
        changed(header, scores=scores),
        changed(header, token_type=types),
        changed(header, tokens=tokens),
    ]
    hashes = {vocabulary.tokenizer_sha256(h) for h in [*headers, bpe, fewer]}
    assert len(hashes) == 6
    assert vocabulary.tokenizer_sha256(header) == vocabulary.tokenizer_sha256(read_header(tiny_gguf("again.gguf")))


def test_facts_of_a_model(header: GGUFHeader) -> None:
    found = vocabulary.facts_of(header)
    assert found.model_dump(exclude={"shapes", "tokenizer_sha256"}) == {
        "facts": 1,
        "architecture": "llama",
        "blocks": 2,
        "embedding": 16,
        "heads": 4,
        "kv_heads": 2,
        "head_size": 4,
        "context": 64,
        "bos": 1,
        "eos": 2,
        "add_bos": True,
        "chat_template": False,
        "vocabulary": 273,
        "tokenizer_kind": "llama",
    }
    assert found.shapes["blk.1.ffn_up.weight"] == (24, 16)


def test_a_gguf_that_is_no_language_model_is_refused(header: GGUFHeader) -> None:
    with pytest.raises(ModelError, match="not a language model"):
        vocabulary.facts_of(replace(header, metadata={"general.architecture": "clip"}))


def test_prepared_facts_are_read_back(tiny_gguf: Callable[..., Path]) -> None:
    path = tiny_gguf()
    made = vocabulary.prepare(path, "0" * 64)
    assert vocabulary.load_facts("0" * 64) == made
    model = LocalModel("tiny", Path("absent.gguf"), "0" * 64, None, "")
    assert vocabulary.facts(model) == made, "the GGUF is not read again"


def test_a_byte_level_vocabulary_has_no_sentencepiece_model(tiny_gguf: Callable[..., Path]) -> None:
    vocabulary.prepare(tiny_gguf(kind="gpt2"), "1" * 64)
    assert not vocabulary.tokenizer_path("1" * 64).exists()
    assert vocabulary.load_facts("1" * 64) is not None


# --- against llama.cpp ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama_cpp(local_model: LocalModel) -> Iterator[Callable[[str], list[int]]]:
    """llama.cpp's own ids of a text, special names read as plain text."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(local_model.gguf)
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity, params.ui = 512, 1, False, -1, False
    params.cpuparams.n_threads = 1
    params.api_keys, params.hostnames, params.port = ["key"], ["127.0.0.1"], 0
    server = xllamacpp.Server(params)
    with httpx.Client(base_url=server.listening_address, headers={"Authorization": "Bearer key"}) as client:

        def ids(text: str) -> list[int]:
            body = {"content": text, "add_special": False, "parse_special": False}
            tokens: list[int] = client.post("/tokenize", json=body).json()["tokens"]
            return tokens

        yield ids
    del server


@pytest.fixture(scope="module")
def pieces(local_model: LocalModel) -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(local_model.tokenizer))


@pytest.mark.model
@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_llama_cpp(pieces: Any, llama_cpp: Callable[[str], list[int]], text: str) -> None:
    assert pieces.encode(text) == llama_cpp(text)


@pytest.mark.model
@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=60))
def test_ids_of_any_text_are_those_of_llama_cpp(pieces: Any, llama_cpp: Callable[[str], list[int]], text: str) -> None:
    assert pieces.encode(text) == llama_cpp(text)


@pytest.mark.model
@settings(max_examples=200, deadline=None)
@given(text=st.text("абвгдеё АБ\n\tabcde  .,—«»😀<>[]0x", max_size=80))
def test_ids_of_dense_text_are_those_of_llama_cpp(
    pieces: Any, llama_cpp: Callable[[str], list[int]], text: str
) -> None:
    assert pieces.encode(text) == llama_cpp(text)
