"""Options of the `vllm` backend as arguments of vLLM's own engine; what would run code or lose a promise is refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scenepipe.backends.drawn_tokens import MOST_ALTERNATIVES
from scenepipe.errors import Fault, did_you_mean
from scenepipe.models.composed import RANKS

_OURS = {
    "model": "weights",
    "dtype": "dtype",
    "max_model_len": "context",
    "max_num_seqs": "parallel",
    "max_loras": "max_loras",
    "max_cpu_loras": "max_cpu_loras",
    "max_lora_rank": "max_lora_rank",
}
_FIXED = {
    "enable_lora": "it is on whenever the pipeline has registers",
    "lora_target_modules": "registers would lose part of what they are",
    "default_mm_loras": "an adapter that nobody asked for would speak",
    "logprobs_mode": "probabilities are told as they are before any sampling setting",
    "skip_tokenizer_init": "texts could not be read",
    "runner": "this backend generates text",
    "convert": "this backend generates text",
}
_RUNS_CODE = re.compile(
    r"trust_remote_code|worker_cls|worker_extension_cls|scheduler_cls|logits_processors|model_class_overrides"
    r"|inductor_passes|inductor_compile_config|hf_overrides|\w*_plugin|\w*_module_path|\w*_cls|\w*cls_path|\w*qualname"
)
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(:\w+)?")
_PICKLED_FORMATS = ("auto", "hf", "npcache", "pt")
_NESTED_LIMIT = 8


@dataclass(frozen=True)
class VllmOptions:
    """What the backend was given; `scenepipe.backends.vllm.Vllm` says what each means."""

    weights: str | None
    dtype: str
    context: int
    parallel: int
    max_loras: int
    max_cpu_loras: int | None
    max_lora_rank: int | None
    composed: int
    engine: Mapping[str, Any]


def faults(options: VllmOptions) -> list[Fault]:
    """What is wrong beside numbers outside their range and can be seen without vLLM."""
    found = []
    if options.max_cpu_loras is not None and options.max_cpu_loras < options.max_loras:
        found.append(
            Fault("max_cpu_loras", f"{options.max_cpu_loras} is less than max_loras, {options.max_loras}; raise it")
        )
    if options.max_lora_rank is not None and options.max_lora_rank not in RANKS:
        allowed = ", ".join(map(str, RANKS))
        found.append(Fault("max_lora_rank", f"{options.max_lora_rank} was given; vLLM has {allowed}"))
    return found + [fault for key, value in options.engine.items() for fault in _engine_faults(key, value)]


def _engine_faults(key: str, value: Any) -> Iterator[Fault]:
    where = f"engine.{key}"
    if key in _OURS:
        yield Fault(where, f"it is the option '{_OURS[key]}' of this backend; set it there")
    elif key in _FIXED:
        yield Fault(where, f"it cannot be set: {_FIXED[key]}")
    elif key == "load_format" and value in _PICKLED_FORMATS:
        yield Fault(where, f"'{value}' may read pickled weights, which can run code; use safetensors")
    yield from _code_faults(where, key, value, 0)


def _code_faults(where: str, key: str, value: Any, depth: int) -> Iterator[Fault]:
    """Settings that name Python code, at any depth: vLLM imports and runs what they name."""
    if depth > _NESTED_LIMIT:
        yield Fault(where, f"it is nested more than {_NESTED_LIMIT} levels deep")
    elif _RUNS_CODE.fullmatch(key) and value not in (None, False, "", [], {}):
        yield Fault(where, "it names code to run, which no configuration may; register it in Python, or leave it out")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _code_faults(f"{where}.{name}", str(name), inner, depth + 1)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _code_faults(f"{where}.{number}", key, inner, depth + 1)
    elif isinstance(value, str) and (depth or "backend" in key) and _IMPORT_PATH.fullmatch(value):
        yield Fault(where, f"'{value}' looks like an import path, and no configuration may name code to run")


def unknown(options: VllmOptions, known: Collection[str]) -> list[Fault]:
    """Names in ``engine`` that this version of vLLM has not."""
    known = [name for name in known if name not in _OURS and name not in _FIXED and not name.startswith("_")]
    return [
        Fault(f"engine.{key}", f"vLLM has no such argument; {_nearest(key, known)}")
        for key in options.engine
        if key not in known
    ]


def platform_faults(options: VllmOptions, *, cpu: bool) -> list[Fault]:
    """Settings that end the engine where it runs: vLLM 0.32 on a CPU fails ("CPU Generator does not use offset") when a
    prompt of a request with a seed is read in several parts, and takes every other request with it."""
    if not cpu or not options.engine.get("enable_chunked_prefill"):
        return []
    return [
        Fault(
            "engine.enable_chunked_prefill",
            "on a CPU vLLM fails when a prompt of a request with a seed is read in parts; leave it out",
        )
    ]


def _nearest(key: str, known: Collection[str]) -> str:
    """The nearest name; the whole list has some two hundred."""
    return did_you_mean(key, known).partition("possible:")[0] or "`vllm serve --help` lists them, with - for _"


def engine_arguments(
    options: VllmOptions, weights: str, ranks: Collection[int], *, cpu: bool = False
) -> dict[str, Any]:
    """Arguments of ``AsyncEngineArgs``.

    Args:
        weights: folder or hub id.
        ranks: of the open registers' adapters. Without ``max_lora_rank`` the mixture of all of them fits.
        cpu: whether it runs on CPUs, where each prompt is read whole (see `platform_faults`).
    """
    given: dict[str, Any] = {
        "load_format": "safetensors",
        "max_logprobs": MOST_ALTERNATIVES,
        "disable_log_stats": True,
        # Free whitespace is what a small model fills a reply with; of the engines that leave it out, this one takes most schemas.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        **({"enable_chunked_prefill": False} if cpu else {}),
        **options.engine,
        "model": weights,
        "dtype": options.dtype,
        "max_model_len": options.context,
        "max_num_seqs": options.parallel,
    }
    if ranks:
        given |= {
            "enable_lora": True,
            "max_loras": options.max_loras,
            "max_cpu_loras": options.max_cpu_loras or 2 * options.max_loras,
            "max_lora_rank": options.max_lora_rank or fitting_rank(sum(ranks)),
        }
    return given


def fitting_rank(rank: int) -> int:
    """The least of vLLM's ranks that holds this one; its largest where none does."""
    return min((allowed for allowed in RANKS if allowed >= rank), default=RANKS[-1])
