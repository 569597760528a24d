"""What each kind of server can do, and what its requests call it: one row each.

Sources: vLLM 0.32 ``entrypoints/openai/*/protocol.py``; llama.cpp ``tools/server/README.md``; OpenAI's reference of
completions and chat; Ollama ``docs.ollama.com/openapi.yaml``; TGI ``docs/openapi.json``; NIM "API reference" and
"Structured generation"; LMDeploy ``serve/openai/protocol.py``; SGLang ``entrypoints/openai/protocol.py``; LM Studio
docs ``3_openai-compat``; FastChat ``protocol/openai_api_protocol.py``; TabbyAPI ``common/sampling.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scenepipe.tools import ToolWish

FlavourName = Literal[
    "vllm",
    "llama-server",
    "generic",
    "ollama",
    "tgi",
    "nim",
    "lmdeploy",
    "sglang",
    "lm-studio",
    "fastchat",
    "tabbyapi",
]
Wire = Literal["completions", "chat", "llama", "tgi", "ollama"]
Schema = Literal["response_format", "json_schema", "format", "grammar"]


@dataclass(frozen=True)
class Endpoint:
    """One way to ask for a reply.

    Args:
        path: after the server's address.
        wire: form of request and events (`scenepipe.backends.openai_wire`, `openai_native`).
        sampling: our name of each setting that it honours -> its own name.
        schema: how a JSON Schema is asked for; None: not at all.
        logprobs: most alternatives per token, of the distribution before sampling settings; 0: none are told.
        usage: whether a streamed reply tells its token counts when asked with ``stream_options``.
        seed: whether it takes one.
        stops: most stop strings that it takes; more are watched on this side. None: any number.
        leaves_stop: it leaves the stop string in the text.
        reasoning: it tells reasoning apart from the reply.
        tools: what may be asked about calls of tools; None: it calls none.
    """

    path: str
    wire: Wire
    sampling: Mapping[str, str]
    schema: Schema | None = None
    logprobs: int = 0
    usage: bool = True
    seed: bool = True
    stops: int | None = None
    leaves_stop: bool = False
    reasoning: bool = False
    tools: tuple[ToolWish, ...] | None = None


@dataclass(frozen=True)
class Flavour:
    """One kind of server.

    Args:
        prompt: endpoint for plain prompts.
        chat: endpoint for messages; None: it has none.
        lora: how a register is chosen: ``scales`` of loaded adapters in the request, ``loaded`` at run time as a
            composed adapter, ``model`` name, ``adapter_id``, or not at all.
        convention: what an adapter is called at the server when ``adapters`` does not say; None: nothing is known.
        tokenize: which server-side tokenizer it has; None: the local model's is used.
        score: how the probability of a given reply is asked for.
        names_model: its answers name the model that spoke, an adapter by its own name.
        keep_alive: connections outlive a streamed reply.
        top_k_off: the ``top_k`` that keeps all tokens.
        alone: name of the model where a server has one alone and does not look at its name.
        start: a command that starts such a server, for messages.
    """

    prompt: Endpoint
    chat: Endpoint | None = None
    lora: Literal["scales", "loaded", "model", "adapter_id", "none"] = "model"
    convention: str | None = None
    tokenize: Literal["vllm", "llama", "tgi", "tabby", "lmdeploy"] | None = None
    score: Literal["prompt_logprobs", "forced"] | None = None
    names_model: bool = False
    keep_alive: bool = True
    top_k_off: int = 0
    alone: str | None = None
    start: str = ""


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_OPENAI = _same("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias")
_VLLM = {**_OPENAI, **_same("top_k", "min_p"), "repeat_penalty": "repetition_penalty"}
_LLAMA = {**_OPENAI, **_same("top_k", "min_p", "repeat_penalty")}
_LMDEPLOY = {**_same("temperature", "top_p", "top_k", "min_p"), "repeat_penalty": "repetition_penalty"}
_EFFORT = _same("reasoning_effort")
_ALL_WISHES: tuple[ToolWish, ...] = ("required", "named", "parallel")
_COMPLETIONS, _CHAT = "/v1/completions", "/v1/chat/completions"

FLAVOURS: Mapping[FlavourName, Flavour] = {
    "vllm": Flavour(
        Endpoint(_COMPLETIONS, "completions", _VLLM, "response_format", logprobs=20, stops=4),
        Endpoint(
            _CHAT,
            "chat",
            {**_VLLM, **_EFFORT},
            "response_format",
            logprobs=20,
            stops=4,
            reasoning=True,
            tools=_ALL_WISHES,
        ),
        lora="loaded",
        tokenize="vllm",
        score="prompt_logprobs",
        names_model=True,
        start="VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank 64",
    ),
    "llama-server": Flavour(
        Endpoint("/completion", "llama", _LLAMA, "json_schema", logprobs=100),
        Endpoint(
            _CHAT,
            "chat",
            _LLAMA,
            "response_format",
            logprobs=100,
            reasoning=True,
            tools=("required", "parallel"),
        ),
        lora="scales",
        alone="default",
        tokenize="llama",
        score="forced",
        keep_alive=False,
        start="llama-server -m MODEL.gguf --lora A.gguf,B.gguf --lora-init-without-apply",
    ),
    "generic": Flavour(
        Endpoint(_COMPLETIONS, "completions", _OPENAI, logprobs=5, stops=4),
        Endpoint(
            _CHAT,
            "chat",
            {**_OPENAI, **_EFFORT},
            "response_format",
            logprobs=20,
            stops=4,
            reasoning=True,
            tools=_ALL_WISHES,
        ),
    ),
    "ollama": Flavour(
        Endpoint(
            "/api/generate", "ollama", _same("temperature", "top_p", "top_k", "min_p", "repeat_penalty"), "format"
        ),
        Endpoint(
            _CHAT,
            "chat",
            {**_same("temperature", "top_p", "presence_penalty", "frequency_penalty"), **_EFFORT},
            "response_format",
            reasoning=True,
            tools=(),
        ),
        start="ollama serve",
    ),
    "tgi": Flavour(
        Endpoint(
            "/generate_stream",
            "tgi",
            {**_same("temperature", "top_p", "top_k", "frequency_penalty", "watermark")}
            | {"repeat_penalty": "repetition_penalty"},
            "grammar",
            stops=4,
            leaves_stop=True,
        ),
        Endpoint(
            _CHAT, "chat", _same("temperature", "top_p", "presence_penalty", "frequency_penalty"), stops=4, usage=True
        ),
        lora="adapter_id",
        alone="tgi",
        convention="{name}",
        tokenize="tgi",
        start="text-generation-launcher --model-id MODEL --lora-adapters poet=/registers/poet",
    ),
    "nim": Flavour(
        Endpoint(_COMPLETIONS, "completions", _OPENAI, "response_format", stops=4),
        Endpoint(_CHAT, "chat", _OPENAI, "response_format", stops=4, tools=_ALL_WISHES),
        convention="{name}",
        start="NIM_PEFT_SOURCE=/loras",
    ),
    "lmdeploy": Flavour(
        Endpoint(_COMPLETIONS, "completions", _LMDEPLOY),
        Endpoint(_CHAT, "chat", _LMDEPLOY, "response_format", reasoning=True, tools=()),
        convention="{name}",
        tokenize="lmdeploy",
        start="lmdeploy serve api_server MODEL --backend pytorch --adapters poet=/registers/poet",
    ),
    "sglang": Flavour(
        Endpoint(_COMPLETIONS, "completions", _VLLM, "response_format"),
        Endpoint(_CHAT, "chat", {**_VLLM, **_EFFORT}, "response_format", reasoning=True, tools=("required", "named")),
        convention="{served}:{name}",
        top_k_off=-1,
        start="python -m sglang.launch_server --model-path MODEL --enable-lora --lora-paths poet=/registers/poet",
    ),
    "lm-studio": Flavour(
        Endpoint(_COMPLETIONS, "completions", {**_OPENAI, **_same("top_k", "repeat_penalty")}),
        Endpoint(_CHAT, "chat", {**_OPENAI, **_same("top_k", "repeat_penalty")}, "response_format", tools=()),
        start="lms server start",
    ),
    "fastchat": Flavour(
        Endpoint(
            _COMPLETIONS,
            "completions",
            _same("temperature", "top_p", "presence_penalty", "frequency_penalty"),
            usage=False,
            seed=False,
        ),
        Endpoint(
            _CHAT,
            "chat",
            _same("temperature", "top_p", "presence_penalty", "frequency_penalty"),
            usage=False,
            seed=False,
        ),
        start="python -m fastchat.serve.openai_api_server",
    ),
    "tabbyapi": Flavour(
        Endpoint(_COMPLETIONS, "completions", {**_VLLM}, "json_schema", seed=False),
        Endpoint(_CHAT, "chat", {**_VLLM}, "json_schema", seed=False, tools=()),
        lora="none",
        alone="default",
        tokenize="tabby",
        start="python main.py",
    ),
}
"""By name. A setting, a schema or a seed that a server would ignore is not in its row, and is refused by name."""
