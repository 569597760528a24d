"""One reply of llama.cpp: what its server is asked for, and its events as checked chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from scenepipe.backends.drawn_tokens import DrawnTokens, finite
from scenepipe.backends.json_text import begins_json, is_json
from scenepipe.backends.llama_vocabulary import LlamaVocabulary
from scenepipe.contracts import Chunk, DrawnToken, Request
from scenepipe.errors import BackendError
from scenepipe.sampling import COMMON, Sampling
from scenepipe.scene import TokenScore, Usage

SAMPLING = (*COMMON, "presence_penalty", "frequency_penalty", "logit_bias")
_FINAL_FIELDS = ["content", "stop", "stop_type", "generation_settings/lora", "tokens_predicted", "tokens_evaluated"]
_RANDOM_SEED = 2**32 - 1
_FORCING_BIAS = 1e6


def lora(scales: Sequence[float]) -> list[dict[str, float]]:
    """A mixture as llama.cpp takes it; one that is left out would stay as it was before."""
    return [{"id": number, "scale": scale} for number, scale in enumerate(scales)]


def next_token(prompt: Sequence[int], scales: Sequence[float], alternatives: int) -> dict[str, Any]:
    """A request for the distribution of one token, from the raw logits."""
    return {
        "prompt": list(prompt),
        "n_predict": 1,
        "n_probs": alternatives,
        "temperature": 0.0,
        "cache_prompt": False,
        "lora": lora(scales),
        "response_fields": ["completion_probabilities"],
    }


def forced_token(prompt: Sequence[int], token: int, scales: Sequence[float]) -> dict[str, Any]:
    """A request for the probability of this very token."""
    return {**next_token(prompt, scales, 1), "logit_bias": [[token, _FORCING_BIAS]]}


def distribution(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What `next_token` was answered.

    Raises:
        BackendError: no probabilities.
    """
    told = answer.get("completion_probabilities")
    if not told:
        raise BackendError("llama.cpp gave no probabilities for a token; check that the model generates text")
    return dict(told[0])


def forced_score(answer: Mapping[str, Any], token: int, text: str) -> TokenScore:
    """What `forced_token` was answered.

    Raises:
        BackendError: another token was scored, or none.
    """
    told = distribution(answer)
    if told["id"] != token:
        raise BackendError(f"llama.cpp scored token {told['id']} where {token} was asked for; report this")
    return TokenScore(token=text, logprob=finite(told["logprob"]))


def completion(request: Request, prompt: Sequence[int], scales: Sequence[float], slot: int) -> dict[str, Any]:
    """What the server is asked for.

    Raises:
        BackendError: settings that llama.cpp cannot honour together.
    """
    body: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": request.max_tokens,
        "stop": list(request.stop),
        "id_slot": slot,
        "cache_prompt": False,
        "lora": lora(scales),
        "response_fields": _FINAL_FIELDS,
        **request.sampling.model_dump(include=set(COMMON)),
        **_adjusted(request.sampling, prompt, request.max_tokens),
    }
    if request.logprobs is not None:
        body["n_probs"] = max(1, request.logprobs)
        body["post_sampling_probs"] = False
    if request.seed is not None:
        body["seed"] = request.seed % _RANDOM_SEED
    if request.json_schema is not None:
        body["json_schema"] = request.json_schema
    return body


def _adjusted(sampling: Sampling, prompt: Sequence[int], most: int) -> dict[str, Any]:
    """Bias and penalties.

    llama.cpp counts the prompt's tokens as said. A bias takes them out of the count again, and the window is made as
    long as prompt and reply, so that it never slides over them. For ``frequency_penalty`` the sum is exact.
    """
    presence, frequency, bias = sampling.presence_penalty, sampling.frequency_penalty, dict(sampling.logit_bias)
    if not (presence or frequency):
        return {"logit_bias": [[token, amount] for token, amount in bias.items()]}
    if sampling.repeat_penalty != 1.0:
        raise BackendError(
            "llama-cpp has one window for all penalties, so it takes repeat_penalty or the other two; set "
            f"repeat_penalty: 1 (now {sampling.repeat_penalty}), or presence_penalty and frequency_penalty: 0"
        )
    for token, count in Counter(prompt).items():
        bias[token] = bias.get(token, 0.0) + presence + frequency * count
    return {
        "presence_penalty": presence,
        "frequency_penalty": frequency,
        "repeat_last_n": len(prompt) + most,
        "logit_bias": [[token, amount] for token, amount in bias.items()],
    }


class LlamaReply:
    """Events in, chunks out; sees that the engine did what was asked where it would otherwise say nothing.

    llama.cpp drops a JSON Schema that its grammar engine cannot compile and generates freely; it drops adapter
    numbers that it does not know; and when ``max_tokens`` ends a reply, it drops the text that it held back because
    it could have become a stop string. Of a character that several tokens share it tells the last token alone.
    """

    def __init__(
        self, vocabulary: LlamaVocabulary, request: Request, scales: Sequence[float], until: float | None = None
    ) -> None:
        self._vocabulary = vocabulary
        self._until = until
        self._scales = scales
        self._json_expected = request.json_schema is not None
        self._alternatives = request.logprobs
        self._text = ""
        self._held: list[int] = []
        self._drawn = DrawnTokens()

    async def chunk(self, event: Mapping[str, Any], seconds: float) -> Chunk | None:
        """What an event says, if anything; the last event has ``stop``.

        Raises:
            BackendError: the engine did not do what it was asked for.
        """
        if self._json_expected:
            self._check_json(event)
        if event["stop"]:
            self._check_mixture(event["generation_settings/lora"])
            return await self._last(event, seconds)
        if self._alternatives is not None:
            for told in event.get("completion_probabilities", ()):
                self._drawn.add(await self._token(told, event["content"]))
        if not event["content"]:
            self._held += event["tokens"]
            return None
        self._held.clear()
        return Chunk(text=event["content"], logprobs=self._drawn.said(event["content"]))

    async def _last(self, event: Mapping[str, Any], seconds: float) -> Chunk:
        usage = Usage(prompt_tokens=event["tokens_evaluated"], reply_tokens=event["tokens_predicted"], seconds=seconds)
        reason: Literal["stop", "length"] = "length" if event["stop_type"] == "limit" else "stop"
        tail = await self._vocabulary.text(self._held, self._until) if reason == "length" and self._held else ""
        text = event["content"] + tail
        if event["stop_type"] == "eos":
            self._drawn.forget()
        return Chunk(text=text, logprobs=self._drawn.said(text), finish_reason=reason, usage=usage)

    async def _token(self, told: Mapping[str, Any], content: str) -> DrawnToken:
        """One token's figures. What the server names ``token`` is the text it sends with it, so more or less than it."""
        alternatives = told["top_logprobs"]
        raw = next((each["bytes"] for each in alternatives if each["id"] == told["id"]), None)
        if raw is not None:
            text = bytes(raw).decode("utf-8", "replace")
        else:
            text = await self._vocabulary.piece(told["id"], self._until)
        if "\ufffd" in text:  # the end of a character whose beginning was never told
            text = content
        top = tuple(
            TokenScore(token=bytes(each["bytes"]).decode("utf-8", "replace"), logprob=each["logprob"])
            for each in alternatives[: self._alternatives]
        )
        return DrawnToken(token=text, logprob=told["logprob"], top=top)

    def _check_mixture(self, told: Sequence[Mapping[str, float]]) -> None:
        used = [adapter["scale"] for adapter in told]
        if len(used) != len(self._scales) or any(abs(a - b) > 1e-6 for a, b in zip(used, self._scales, strict=True)):
            raise BackendError(f"llama.cpp spoke with the scales {used} where {list(self._scales)} were asked for")

    def _check_json(self, event: Mapping[str, Any]) -> None:
        self._text = (self._text + event["content"]).lstrip()
        ended = event["stop"] and event["stop_type"] != "limit"
        if not (is_json(self._text) if ended else begins_json(self._text)):
            raise BackendError(
                f"llama.cpp did not keep to the JSON Schema, the reply begins {self._text[:40]!r}; "
                "its grammar engine cannot compile this schema: simplify it"
            )
