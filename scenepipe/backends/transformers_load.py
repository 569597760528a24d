"""Load a base for the `transformers` backend: which files, in which dtype, on which devices, and what is refused.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from scenepipe.backends.passes import named
from scenepipe.backends.quantization import Bitsandbytes8, Gguf, checkpoint_packages, packages_of, require
from scenepipe.backends.same_model import TURN_ENDS, check_sizes, check_vocabulary
from scenepipe.backends.slot_cache import KINDS, layer_kinds
from scenepipe.backends.token_prompts import token_names
from scenepipe.errors import BackendError, MissingExtraError, ScenepipeError
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.dequantise import safetensors_of


@dataclass(frozen=True)
class LoadOptions:
    """How a base is loaded; `scenepipe.backends.transformers.Transformers` says what each means."""

    weights: str | None
    dtype: str
    device: str
    device_map: str | Mapping[str, str | int] | None
    max_memory: Mapping[str, str] | None
    offload_folder: str | None
    quantization: Any
    attention: str


@dataclass(frozen=True)
class Base:
    """A loaded base.

    Args:
        model: a causal language model of Transformers, in evaluation mode.
        tokenizer: its tokenizer, on `tokenizers`.
        dtype: what it computes in.
        ends: tokens that end a reply.
    """

    model: Any
    tokenizer: Any
    dtype: torch.dtype
    ends: frozenset[int]


def load(model: LocalModel, options: LoadOptions, context: int) -> Base:
    """Load a model as the options say.

    Raises:
        BackendError: files or settings that do not fit the model, a package or a device that is not there, no memory.
        MissingExtraError: Accelerate is not installed and the settings need it.
        ModelError: the model's GGUF cannot be read by Transformers.
    """
    device = _device(options.device)
    dtype = _dtype(options, device)
    _check_packages(options)
    where = _where(model, options)
    try:
        with _quiet():
            return _load(model, options, context, where, device, dtype)
    except ScenepipeError:
        raise
    except Exception as error:
        raise named(error, f"loading {where['pretrained_model_name_or_path']}") from error


def _load(
    model: LocalModel, options: LoadOptions, context: int, where: dict[str, str], device: torch.device, dtype: Any
) -> Base:
    config = transformers.AutoConfig.from_pretrained(**where, local_files_only=True, trust_remote_code=False)
    checkpoint_packages(config, Path(where["pretrained_model_name_or_path"]))
    _check_config(config.get_text_config(), model, context)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where, local_files_only=True, trust_remote_code=False)
    _check_tokenizer(tokenizer, model, options)
    base, told = transformers.AutoModelForCausalLM.from_pretrained(
        **where,
        **_settings(options, device, dtype),
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    _check_loaded(base, told, options)
    if isinstance(options.quantization, Bitsandbytes8):
        logging.getLogger("bitsandbytes.autograd._functions").addFilter(_ONCE)
    if not hasattr(base, "hf_device_map") and not getattr(base, "is_quantized", False):
        base = base.to(device)
    return Base(base.eval(), tokenizer, dtype, _ends(base, tokenizer))


# --- where and how ---------------------------------------------------------------------------------------------------


def _where(model: LocalModel, options: LoadOptions) -> dict[str, str]:
    """What `from_pretrained` is given to find the files."""
    if options.weights is not None:
        folder = Path(options.weights).expanduser()
        if not (folder / "config.json").is_file():
            raise BackendError(f"weights: {folder} has no config.json; name a folder as Transformers saves one")
        return {"pretrained_model_name_or_path": str(folder)}
    if isinstance(options.quantization, Gguf):
        return {"pretrained_model_name_or_path": str(model.gguf.parent), "gguf_file": model.gguf.name}
    return {"pretrained_model_name_or_path": str(safetensors_of(model))}


def _settings(options: LoadOptions, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained`; what is not asked for is left to Transformers."""
    settings: dict[str, Any] = {"dtype": dtype}
    if options.attention != "auto":
        settings["attn_implementation"] = options.attention
    if options.quantization is not None:
        settings["quantization_config"] = options.quantization.config(dtype)
        if not isinstance(options.quantization, Gguf):
            settings["device_map"] = {"": str(device)}
    if options.device_map is not None:
        settings["device_map"] = options.device_map if isinstance(options.device_map, str) else dict(options.device_map)
        settings["offload_folder"] = options.offload_folder
    if options.max_memory is not None:
        settings["max_memory"] = {int(k) if k.isdigit() else k: v for k, v in options.max_memory.items()}
    if not isinstance(options.quantization, Gguf):
        settings["use_safetensors"] = True
    return settings


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        words = str(error).splitlines()[0]
        raise BackendError(f"device '{name}' cannot be used: {words}; possible here: {', '.join(_devices())}") from None
    return device


def _devices() -> list[str]:
    return ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]


def _dtype(options: LoadOptions, device: torch.device) -> torch.dtype:
    """The dtype asked for. For ``auto`` the fastest that the device computes in by itself."""
    if options.dtype != "auto":
        found: torch.dtype = getattr(torch, options.dtype)
        return found
    if getattr(options.quantization, "checkpoint", False):
        return torch.float16 if device.type == "cuda" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself (AVX512_BF16, AMX); elsewhere float32 is several times as fast."""
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in asked if ask is not None)


def _ends(base: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a reply: the model's own, and the ends of a turn that llama.cpp knows by name."""
    told = base.generation_config.eos_token_id
    ends = {*(told if isinstance(told, list) else [told]), tokenizer.eos_token_id}
    vocabulary = tokenizer.backend_tokenizer
    ends |= {vocabulary.token_to_id(name) for name in TURN_ENDS}
    return frozenset(int(end) for end in ends if end is not None)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice on standard error."""
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()


class _Once(logging.Filter):
    """Lets each message through once: bitsandbytes says of every layer and every step that it computes in float16."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        first = message not in self._said
        self._said.add(message)
        return first


_ONCE = _Once()


# --- what is refused -------------------------------------------------------------------------------------------------


def _check_packages(options: LoadOptions) -> None:
    method = options.quantization
    if method is not None:
        require(f"quantization: {method.method}", packages_of(method))
        if method.checkpoint and options.weights is None:
            raise BackendError(
                f"quantization: {method.method} needs a checkpoint that was quantised so; name its folder with 'weights'"
            )
    if options.device_map is not None and importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError("device_map", "accelerate", "transformers")


def _check_config(config: Any, model: LocalModel, context: int) -> None:
    """See that the architecture is one that rows of different lengths can share, and of the model's size."""
    if foreign := layer_kinds(config) - KINDS:
        raise BackendError(
            f"'{config.model_type}' has layers of kind {', '.join(sorted(foreign))}, whose state is not keys and "
            f"values; possible: {', '.join(sorted(KINDS))}; use another backend for this model"
        )
    check_sizes(model, layers=config.num_hidden_layers, hidden=config.hidden_size)
    rope = getattr(config, "rope_parameters", None) or {}
    limit = rope.get("original_max_position_embeddings", getattr(config, "original_max_position_embeddings", None))
    if rope.get("rope_type") in ("dynamic", "longrope") and limit and context > limit:
        raise BackendError(
            f"context is {context} and '{config.model_type}' turns its positions by other factors beyond {limit} "
            f"tokens, for a whole batch at once; set context to at most {limit}"
        )


def _check_tokenizer(tokenizer: Any, model: LocalModel, options: LoadOptions) -> None:
    """See that the tokenizer is a `tokenizers` one, and that weights of the user's own have the model's vocabulary."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise BackendError(
            f"{type(tokenizer).__name__} does not run on 'tokenizers'; use another backend for this model"
        )
    if options.weights is not None:
        check_vocabulary(model, lambda count: token_names(tokenizer, count))


def _check_loaded(base: Any, told: Mapping[str, Any], options: LoadOptions) -> None:
    """See that every weight was in the files, and that what was asked for is what was done."""
    if missing := sorted(told["missing_keys"]):
        raise BackendError(
            f"the files lack {len(missing)} of the model's weights, such as {missing[0]}; fetch or convert them again"
        )
    if base.config._attn_implementation not in ("sdpa", "eager"):
        raise BackendError(
            f"attention '{base.config._attn_implementation}' takes no rows of different lengths; set attention to sdpa "
            "or eager"
        )
    method = options.quantization
    if isinstance(method, Gguf) and not method.dequantize and base.config.quantization_config.dequantize:
        raise BackendError(
            "no kernel for packed GGUF blocks is published for this device; set dequantize: true, or leave "
            "quantization out"
        )
