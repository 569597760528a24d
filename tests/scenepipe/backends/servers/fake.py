"""A fake server of each flavour: its endpoints and events as documented, strict about every field."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from scenepipe.contracts import Chunk, DrawnToken
from tests.scenepipe.backends.servers.fields import OLLAMA_OPTIONS, TGI_PARAMETERS, TRITON_SAMPLING, fields
from tests.scenepipe.backends.servers.http import Answer, Asked, HttpThread, told
from tests.scenepipe.backends.servers.model import TinyModel
from tests.scenepipe.backends.servers.tools import CallEvents, WrongTools, conversation

_NO_USAGE = ("fastchat",)
_FOUR_STOPS = ("generic", "tgi", "vllm", "nim")
SSE = {"content-type": "text/event-stream; charset=utf-8"}


class Refused(Exception):
    """A request that is wrong."""

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


class FakeServer(HttpThread):
    """One flavour.

    Args:
        adapters: names that it has from its start.
        ignores: it takes any adapter and speaks as the base.
        most: adapters that a vLLM server may have at once.
        delay_s, long_s: seconds for each word; of replies that may be long, where that is more.
        leaks: what has no adapter speaks with the one that was loaded last, as at vLLM on a CPU.
    """

    def __init__(
        self,
        flavour: str,
        *,
        adapters: Sequence[str] = (),
        ignores: bool = False,
        leaks: bool = False,
        most: int = 8,
        delay_s: float = 0.0,
        long_s: float = 0.0,
        runtime: bool = True,
    ) -> None:
        super().__init__(self._answer, close_after_stream=flavour == "llama-server")
        self.flavour = flavour
        self.served = "base-model"
        self.adapters: dict[str, str] = {name: f"/adapters/{name}.gguf" for name in adapters}
        self.model = TinyModel(delay_s=delay_s, long_s=long_s)
        self._ignores = ignores
        self._leaks = leaks
        self._most = most
        self._runtime = runtime

    async def _answer(self, asked: Asked) -> Answer:
        try:
            return await self._known(asked)
        except Refused as error:
            return self._refusal(str(error), error.status, streams=asked.path.endswith("/generate_stream"))

    def _refusal(self, message: str, status: int, *, streams: bool) -> Answer:
        if self.flavour == "triton":
            before = b"data: " if streams else b""
            return Answer(before + json.dumps({"error": message}).encode(), status)
        if self.flavour in ("tgi", "ollama"):
            return told({"error": message, "error_type": "validation"}, status)
        if self.flavour == "fastchat":
            return told({"object": "error", "message": message, "code": 40000 + status}, status)
        return told({"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}, status)

    async def _known(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return self._page(asked.path)
        allowed = fields(self.flavour, asked.path)
        if not allowed or (not self._runtime and "lora_adapter" in asked.path):
            raise Refused("Not Found", 404)
        if unknown := set(asked.body) - allowed:
            raise Refused(f"unknown fields {sorted(unknown)}")
        handler = {
            "/v1/completions": self._completions,
            "/v1/chat/completions": self._completions,
            "/completion": self._llama,
            "/generate_stream": self._tgi,
            "/api/generate": self._ollama,
            "/v2/models/base-model/generate_stream": self._triton,
            "/v2/models/base-model/generate": self._triton,
            "/v2/repository/index": self._index,
            "/v1/load_lora_adapter": self._load,
            "/v1/unload_lora_adapter": self._unload,
        }.get(asked.path)
        return await handler(asked.body) if handler is not None else self._tokens(asked.path, asked.body)

    # --- pages and tokens --------------------------------------------------------------------------------------------

    def _page(self, path: str) -> Answer:
        if self.flavour == "triton" and path == "/v2/models/base-model/ready":
            return Answer()
        if path == "/v1/models" and self.flavour not in ("tgi",):
            rows = [{"id": self.served, "object": "model", "owned_by": "me"}]
            rows += [
                {"id": name, "object": "model", "parent": self.served, "root": at} for name, at in self.adapters.items()
            ]
            return told({"object": "list", "data": rows})
        if self.flavour == "llama-server" and path == "/props":
            return told({"default_generation_settings": {"n_ctx": 2048}, "total_slots": 3, "chat_template": ""})
        if self.flavour == "llama-server" and path == "/lora-adapters":
            paths = enumerate(self.adapters.values())
            return told(
                [{"id": n, "path": path, "scale": 1.0, "task_name": "", "prompt_prefix": ""} for n, path in paths]
            )
        if self.flavour == "triton" and path.endswith("/ready"):
            raise Refused("Model version not ready")
        raise Refused("Not Found", 404)

    def _tokens(self, path: str, body: dict[str, Any]) -> Answer:
        if path == "/detokenize":
            key = "content" if self.flavour == "llama-server" else "prompt"
            return told({key: self.model.text(body["tokens"])})
        text = next(body[key] for key in ("prompt", "content", "inputs", "text", "input") if key in body)
        ids = self.model.ids(text)
        if self.flavour == "tgi":
            bos = [{"id": 2, "text": "<bos>", "start": 0, "stop": 0}]
            return told(
                bos + [{"id": n, "text": self.model.text([n]), "start": at, "stop": at + 1} for at, n in enumerate(ids)]
            )
        if self.flavour == "llama-server" and body.get("with_pieces"):
            return told({"tokens": [{"id": n, "piece": self.model.text([n])} for n in ids]})
        if body.get("add_special_tokens") or body.get("add_special"):
            ids = [2, *ids]
        key = "input_ids" if self.flavour == "lmdeploy" else "tokens"
        return told({key: ids, "count": len(ids), "length": len(ids)})

    # --- adapters ----------------------------------------------------------------------------------------------------

    async def _load(self, body: dict[str, Any]) -> Answer:
        folder = Path(body["lora_path"])
        if body["lora_name"] in self.adapters:
            raise Refused(f"The lora adapter '{body['lora_name']}' has already been loaded.")
        if not (folder / "adapter_config.json").is_file():
            raise Refused(f"Loading lora {body['lora_name']} failed: No adapter found for {folder}", 404)
        if (rank := json.loads((folder / "adapter_config.json").read_text())["r"]) > 64:
            raise Refused(f"LoRA rank {rank} is greater than max_lora_rank 64", 500)
        assert len(self.adapters) < self._most, "more adapters than the server keeps"
        self.adapters[body["lora_name"]] = str(folder)
        return Answer(f"Success: LoRA adapter '{body['lora_name']}' added successfully.".encode())  # no content type

    async def _unload(self, body: dict[str, Any]) -> Answer:
        if self.adapters.pop(body["lora_name"], None) is None:
            raise Refused(f"The lora adapter '{body['lora_name']}' cannot be found.", 404)
        return Answer(f"Success: LoRA adapter '{body['lora_name']}' removed successfully.".encode())  # no content type

    def _voice(self, name: str | None) -> str:
        name = (name or "").removeprefix(f"{self.served}:")
        if name in ("", self.served, "tgi", "default"):
            return Path(next(reversed(self.adapters.values()), "")).name if self._leaks else ""
        if not self._ignores and name not in self.adapters:
            raise Refused(f"The model `{name}` does not exist.", 404)
        silent = self._ignores or _changes_nothing(Path(self.adapters[name]))
        return "" if silent else Path(self.adapters[name]).name

    # --- replies -----------------------------------------------------------------------------------------------------

    async def _completions(self, body: dict[str, Any]) -> Answer:
        chat = "messages" in body
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        voice = self._scales(body.get("lora")) if self.flavour == "llama-server" else self._voice(body["model"])
        if not body.get("stream"):
            return await self._prompt_logprobs(prompt, voice)
        stop = body.get("stop", [])
        if self.flavour in _FOUR_STOPS and len(stop) > 4:
            raise Refused(f"stop has {len(stop)} items, at most 4 are possible")
        schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema") or body.get("json_schema")
        wants = body.get("top_logprobs") if chat else body.get("logprobs")
        try:
            talk = conversation(self.flavour, body) if chat else {}
        except WrongTools as error:
            raise Refused(str(error)) from None
        reply = self.model.say(
            None if talk else prompt,
            voice,
            body,
            **talk,
            max_tokens=body["max_tokens"],
            stop=tuple(stop),
            seed=body.get("seed"),
            json_schema=schema,
            logprobs=wants,
        )
        return Answer(self._openai_events(reply, body, chat), headers=SSE)

    async def _openai_events(
        self, reply: AsyncIterator[Chunk], body: dict[str, Any], chat: bool
    ) -> AsyncIterator[bytes]:
        """vLLM tells a token at once and holds its text back, as long as it could still become a stop string."""
        base = {"id": "x", "created": 1, "model": body["model"], "object": "text_completion"}
        if chat:
            yield _sse({**base, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
            yield _sse({**base, "choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None}]})
        held, most = "", max(map(len, body.get("stop", [])), default=1) - 1 if self.flavour == "vllm" else 0
        calls = CallEvents(self.flavour, body)
        async for chunk in reply:
            for delta in calls.of(chunk):
                yield _sse({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            if chunk.tool_calls:
                continue
            whole = held + chunk.text
            text = whole if chunk.usage else whole[: max(0, len(whole) - most)]
            held = whole[len(text) :]
            choice: dict[str, Any] = {"index": 0, "finish_reason": calls.finish(chunk), "unknown": [1]}
            choice |= {"delta": {"content": text}} if chat else {"text": text}
            if chunk.logprobs:
                choice["logprobs"] = _logprobs(chunk.logprobs[0], chat)
            yield _sse({**base, "choices": [choice]})
            if chunk.usage and self.flavour not in _NO_USAGE and body.get("stream_options", {}).get("include_usage"):
                usage = {"prompt_tokens": chunk.usage.prompt_tokens, "completion_tokens": chunk.usage.reply_tokens}
                yield _sse({**base, "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    async def _prompt_logprobs(self, ids: Sequence[int], voice: str) -> Answer:
        """vLLM: of each prompt token by its id, nothing for the first. The reply begins after the scene's last line."""
        text = self.model.text(ids)
        prompt, reply = text[: text.rindex(":") + 1], text[text.rindex(":") + 1 :]
        scores = await self.model.score(prompt, voice, reply)
        rows: list[Any] = [None, *({str(token): {"logprob": -1.0, "decoded_token": "?"}} for token in ids[1:])]
        for token, score, at in zip(reversed(ids), reversed(scores), range(-1, -len(ids), -1), strict=False):
            rows[at] = {str(token): {"logprob": score, "rank": 1, "decoded_token": "?"}}
        return told({"choices": [{"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": rows}]})

    def _scales(self, lora: Any) -> str:
        if not lora:
            raise Refused("no lora: the global scales would speak")
        if [each["id"] for each in lora] != list(range(len(self.adapters))):
            raise Refused(f"lora names {lora}, the server has {len(self.adapters)} adapters")
        used = [(each["id"], each["scale"]) for each in lora if each["scale"]]
        return "" if self._ignores or not used else str(used)

    async def _llama(self, body: dict[str, Any]) -> Answer:
        if body["cache_prompt"] is not False:
            raise Refused("a prompt cache would serve another adapter's")
        voice = self._scales(body.get("lora"))
        text = self.model.text(body["prompt"])
        if not body.get("stream"):
            forced = body["logit_bias"][0][0]
            prompt, reply = text[: text.rindex(":") + 1], text[text.rindex(":") + 1 :] + self.model.text([forced])
            logprob = (await self.model.score(prompt, voice, reply))[-1]
            return told({"completion_probabilities": [{"id": forced, "token": "?", "logprob": logprob}]})
        reply = self.model.say(
            text,
            voice,
            {**body, "logit_bias": _bias(body)},
            max_tokens=body["n_predict"],
            stop=tuple(body["stop"]),
            seed=body.get("seed"),
            json_schema=body.get("json_schema"),
            logprobs=body.get("n_probs"),
        )
        return Answer(self._llama_events(reply, body), headers=SSE)

    async def _llama_events(self, reply: AsyncIterator[Chunk], body: dict[str, Any]) -> AsyncIterator[bytes]:
        async for chunk in reply:
            if chunk.usage is None:
                event = {"index": 0, "content": chunk.text, "tokens": self.model.ids(chunk.text), "stop": False}
                if chunk.logprobs:
                    event["completion_probabilities"] = [_llama_logprobs(chunk.logprobs[0], self.model)]
                yield _sse(event)
                continue
            yield _sse(
                {
                    "content": "",
                    "stop": True,
                    "stop_type": "limit" if chunk.finish_reason == "length" else "word",
                    "tokens_predicted": chunk.usage.reply_tokens,
                    "tokens_evaluated": chunk.usage.prompt_tokens,
                    "generation_settings/lora": body["lora"],
                }
            )

    async def _tgi(self, body: dict[str, Any]) -> Answer:
        asked = body["parameters"]
        if unknown := set(asked) - TGI_PARAMETERS:
            raise Refused(f"unknown parameters {sorted(unknown)}", 422)
        for name, good in (("temperature", asked.get("temperature", 1) > 0), ("top_k", asked.get("top_k", 1) > 0)):
            if not good:
                raise Refused(f"`{name}` must be strictly positive", 422)
        if not 0 < asked.get("top_p", 0.5) < 1:
            raise Refused("`top_p` must be > 0.0 and < 1.0", 422)
        if len(asked.get("stop", [])) > 4:
            raise Refused("`stop` supports up to 4 stop sequences", 422)
        reply = self.model.say(
            body["inputs"],
            self._voice(asked.get("adapter_id")),
            {**asked, **({} if asked.get("do_sample") else {"temperature": 0.0})},
            max_tokens=asked["max_new_tokens"],
            seed=asked.get("seed"),
            json_schema=(asked.get("grammar") or {}).get("value"),
        )
        return Answer(self._tgi_events(reply, asked.get("stop", [])), headers=SSE)

    async def _tgi_events(self, reply: AsyncIterator[Chunk], stop: Sequence[str]) -> AsyncIterator[bytes]:
        """The stop string stays in the text, and the last event is that of the last token."""
        held: Chunk | None = None
        said, count = "", 0
        async for chunk in reply:
            if held is not None:
                said, count = said + held.text, count + 1
                event: dict[str, Any] = {"index": count, "token": {"id": 1, "text": held.text, "special": False}}
                reason = "stop_sequence" if any(each in said for each in stop) else None
                if chunk.usage is not None and reason is None:
                    reason = "length" if chunk.finish_reason == "length" else "eos_token"
                if reason is not None:
                    details = {"finish_reason": reason, "generated_tokens": count, "seed": None, "input_length": 7}
                    yield _sse({**event, "generated_text": said, "details": details})
                    return
                yield _sse({**event, "generated_text": None, "details": None})
            held = chunk

    async def _triton(self, body: dict[str, Any]) -> Answer:
        sampling = json.loads(body["sampling_parameters"])
        if unknown := set(sampling) - TRITON_SAMPLING:
            raise Refused(f"unknown sampling parameters {sorted(unknown)}")
        structured = sampling.pop("structured_outputs", None)
        name = sampling.pop("lora_name", None)
        if name is not None and name not in self.adapters:
            raise Refused(f"LoRA {name} is not supported, we currently support {sorted(self.adapters)}")
        reply = self.model.say(
            body["text_input"],
            self._voice(name),
            sampling,
            max_tokens=sampling["max_tokens"],
            stop=tuple(sampling.get("stop", ())),
            seed=sampling.get("seed"),
            json_schema=json.loads(structured)["json"] if structured else None,
        )
        before = "" if body["exclude_input_in_output"] else body["text_input"]
        events = self._triton_events(reply, before)
        if body["stream"]:
            return Answer((_sse(event) async for event in events), headers=SSE)
        every = [event async for event in events]
        whole = {**every[-1], "text_output": "".join(event["text_output"] for event in every)}
        return told({**whole, "num_output_tokens": sum(event["num_output_tokens"] for event in every)})

    async def _index(self, body: dict[str, Any]) -> Answer:
        assert body == {"ready": True}
        return told([{"name": self.served, "version": "1", "state": "READY"}])

    async def _triton_events(self, reply: AsyncIterator[Chunk], before: str) -> AsyncIterator[dict[str, Any]]:
        base = {"model_name": self.served, "model_version": "1", "num_input_tokens": 9}
        async for chunk in reply:
            text, before = before + chunk.text, ""
            reason = str(chunk.finish_reason)
            yield {**base, "text_output": text, "finish_reason": reason, "num_output_tokens": int(bool(chunk.text))}

    async def _ollama(self, body: dict[str, Any]) -> Answer:
        options = body["options"]
        if unknown := set(options) - OLLAMA_OPTIONS:
            raise Refused(f"unknown options {sorted(unknown)}")
        if body.get("raw") is not True:
            raise Refused("the prompt would be put into the model's template")
        reply = self.model.say(
            body["prompt"],
            self._voice(body["model"]),
            options,
            max_tokens=options["num_predict"],
            stop=tuple(options.get("stop", [])),
            seed=options.get("seed"),
            json_schema=body.get("format"),
        )
        return Answer(self._ollama_lines(reply, body["model"]), headers={"content-type": "application/x-ndjson"})

    async def _ollama_lines(self, reply: AsyncIterator[Chunk], model: str) -> AsyncIterator[bytes]:
        async for chunk in reply:
            line: dict[str, Any] = {"model": model, "created_at": "now", "response": chunk.text, "done": False}
            if chunk.usage is not None:
                counts = {"prompt_eval_count": chunk.usage.prompt_tokens, "eval_count": chunk.usage.reply_tokens}
                line |= {"done": True, "done_reason": chunk.finish_reason, **counts}
            yield json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _changes_nothing(folder: Path) -> bool:
    """Whether an adapter that was loaded is one of zeros."""
    if not (file := folder / "adapter_model.safetensors").is_file():
        return False
    with safe_open(file, "numpy") as tensors:
        return not any(tensors.get_tensor(name).any() for name in tensors.keys() if "lora_B" in name)  # noqa: SIM118


def _sse(value: Any) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _logprobs(token: DrawnToken, chat: bool) -> dict[str, Any]:
    if chat:
        top = [{"token": each.token, "logprob": each.logprob} for each in token.top]
        return {"content": [{"token": token.token, "logprob": token.logprob, "top_logprobs": top}]}
    alternatives = {each.token: each.logprob for each in token.top} | {token.token: token.logprob}
    return {"tokens": [token.token], "token_logprobs": [token.logprob], "top_logprobs": [alternatives]}


def _llama_logprobs(token: DrawnToken, model: TinyModel) -> dict[str, Any]:
    top = [
        {"id": model.ids(e.token)[0], "token": e.token, "bytes": list(e.token.encode()), "logprob": e.logprob}
        for e in token.top
    ]
    return {"id": model.ids(token.token)[0], "token": token.token, "logprob": token.logprob, "top_logprobs": top}


def _bias(body: dict[str, Any]) -> dict[int, float]:
    """llama.cpp penalises the prompt's tokens, too; the fake model does not, so what makes up for it is taken out."""
    bias = dict(body["logit_bias"])
    for token in body["prompt"]:
        if "presence_penalty" in body or "frequency_penalty" in body:
            bias[token] = bias.get(token, 0.0) - body["frequency_penalty"]
    for token in set(body["prompt"]):
        bias[token] = bias.get(token, 0.0) - body.get("presence_penalty", 0.0)
    return bias
