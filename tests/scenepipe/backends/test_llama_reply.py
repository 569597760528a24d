"""What llama.cpp's server is asked for, and what is made of its events; the events are as a real server sent them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from scenepipe.backends.llama_reply import LlamaReply, completion
from scenepipe.backends.llama_vocabulary import LlamaVocabulary
from scenepipe.contracts import Chunk, Request
from scenepipe.errors import BackendError
from scenepipe.sampling import Sampling

PIECES = {1: " one", 2: " two", 3: "\ufffd", 106: "<end_of_turn>"}


async def post(path: str, body: Mapping[str, Any], *, deadline: float | None = None) -> Any:
    """What a reply asks of its server."""
    assert path == "/detokenize"
    return {"content": "".join(PIECES[token] for token in body["tokens"])}


def event(content: str, token: int, *, top: tuple[int, ...] = (), bytes_: bytes | None = None) -> dict[str, Any]:
    """A token's event. Its ``token`` and ``bytes`` are those of the text that goes with it, as the server has them."""
    raw = bytes_ if bytes_ is not None else PIECES[token].encode()
    alternatives = [
        {"id": each, "bytes": list(PIECES[each].encode() if each != token else raw), "logprob": -0.5 - n}
        for n, each in enumerate(top)
    ]
    own = {"id": token, "token": content, "bytes": list(content.encode()), "logprob": -1.0}
    return {
        "content": content,
        "tokens": [token],
        "stop": False,
        "completion_probabilities": [{**own, "top_logprobs": alternatives}],
    }


def last(kind: str) -> dict[str, Any]:
    counts = {"tokens_evaluated": 3, "tokens_predicted": 2, "generation_settings/lora": []}
    return {"content": "", "stop": True, "stop_type": kind, **counts}


def chunks(*events: dict[str, Any], logprobs: int | None = 1) -> list[Chunk]:
    async def all_of_them() -> list[Chunk | None]:
        reply = LlamaReply(LlamaVocabulary(post), Request(prompt="a", logprobs=logprobs), ())
        return [await reply.chunk(each, 0.5) for each in events]

    return [chunk for chunk in asyncio.run(all_of_them()) if chunk is not None]


def told(given: Sequence[Chunk]) -> list[tuple[str, list[str]]]:
    return [(chunk.text, [token.token for token in chunk.logprobs]) for chunk in given]


def test_a_token_comes_with_its_text() -> None:
    spoken = chunks(event(" one", 1, top=(2,)), event(" two", 2, top=(2,)), last("limit"))
    assert told(spoken) == [(" one", [" one"]), (" two", [" two"]), ("", [])]
    assert [(each.token, each.logprob) for each in spoken[0].logprobs[0].top] == [(" two", -0.5)]
    assert spoken[-1].finish_reason == "length"


def test_held_text_and_its_tokens_come_together() -> None:
    """The server sends held text with a later token and names that whole text as the token's."""
    assert told(chunks(event("", 1), event(" one two", 2), last("word"))) == [(" one two", [" one", " two"]), ("", [])]


def test_text_still_held_at_the_end_is_said() -> None:
    assert told(chunks(event(" one", 1), event("", 2), last("limit"))) == [(" one", [" one"]), (" two", [" two"])]


def test_what_a_stop_string_cut_is_no_token_of_the_reply() -> None:
    assert told(chunks(event("", 1), event(" o", 2), last("word"))) == [(" o", []), ("", [])]


def test_the_token_that_ends_a_turn_is_not_told() -> None:
    assert told(chunks(event(" one", 1), event("", 106), last("eos"))) == [(" one", [" one"]), ("", [])]
    with_bytes = event("", 106, top=(106,), bytes_=b"")
    assert told(chunks(event(" one", 1), with_bytes, last("eos"))) == [(" one", [" one"]), ("", [])]


def test_the_end_of_a_character_stands_for_the_whole() -> None:
    assert told(chunks(event("𓀀", 3, top=(3,), bytes_=b"\x80"), last("limit"))) == [("𓀀", ["𓀀"]), ("", [])]


def test_nothing_is_told_where_nothing_was_asked() -> None:
    assert told(chunks(event(" one", 1), last("limit"), logprobs=None)) == [(" one", []), ("", [])]
    assert chunks(event(" one", 1, top=(1,)), last("limit"), logprobs=0)[0].logprobs[0].top == ()


# --- settings ---------------------------------------------------------------------------------------------------------


def body(sampling: Sampling | None = None, **request: Any) -> dict[str, Any]:
    request_ = Request(prompt="a", max_tokens=20, sampling=sampling or Sampling(), **request)
    return completion(request_, [7, 8, 7], (0.5,), 1)


def test_probabilities_are_asked_for_before_sampling() -> None:
    assert "n_probs" not in body()
    assert [body(logprobs=count)["n_probs"] for count in (0, 1, 30)] == [1, 1, 30]
    assert body(logprobs=3)["post_sampling_probs"] is False


def test_a_bias_goes_as_pairs() -> None:
    assert body(Sampling(logit_bias={9: -100.0, 4: 2.5}))["logit_bias"] == [[9, -100.0], [4, 2.5]]


def test_penalties_are_of_the_reply_alone() -> None:
    """The server counts the prompt, too; a bias takes it out of the sum, and the window holds all of it."""
    told = body(Sampling(frequency_penalty=1.5, logit_bias={8: 4.0}))
    assert (told["frequency_penalty"], told["presence_penalty"], told["repeat_last_n"]) == (1.5, 0.0, 23)
    assert dict(told["logit_bias"]) == {7: 3.0, 8: 5.5}
    assert dict(body(Sampling(presence_penalty=0.5))["logit_bias"]) == {7: 0.5, 8: 0.5}


def test_two_kinds_of_penalty_at_once_are_refused() -> None:
    with pytest.raises(BackendError, match="one window for all penalties.*repeat_penalty: 1 .now 1.2"):
        body(Sampling(repeat_penalty=1.2, presence_penalty=0.1))
    assert body(Sampling(repeat_penalty=1.2))["repeat_penalty"] == 1.2
