"""What a bank of four registers costs, and what it gives beside its peers: tokens a second, many in flight.

    OMP_NUM_THREADS=2 python benchmarks/bank_overhead.py --only overhead [--dtype bfloat16] [--rounds 3]
    OMP_NUM_THREADS=2 python benchmarks/bank_overhead.py --only vllm --vllm-python .venv-vllm/bin/python

Each part compares a few things that run in turns, on the same prompts, with the same settings and the same number of
tokens for every row; a figure counts reading and drawing. Rounds go back and forth, so a busy machine slows all alike;
figures are medians, and a ratio is the median of each round's ratio. The parts:

    overhead     the generation loop of the ``transformers`` backend with a bank of four registers, over the bare base:
                 at most 20 % slower
    mixtures     as many different weighted mixtures as rows, over one register: at least 0.9
    peft         PEFT's mixed batch (``adapter_names``), its adapters in the base's dtype: 2 times in bfloat16, 1.1 in
                 float32
    peft-loaded  the same with the adapters in float32, as PEFT loads them by default
    llama-cpp    llama.cpp's own server, four adapters as they arrive, and grouped so well that all in flight have one:
                 1.1 times the latter
    vllm         bare vLLM (``LLM.generate`` with a ``lora_request`` a row) of the environment of ``--vllm-python``: 2 times
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from _bank_peers import Llama, Peft, Vllm, Weights

from scenepipe.contracts import Request
from scenepipe.mixture import Plan, of
from scenepipe.models.adapter import load_adapter
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.fetch import pull
from scenepipe.prompt import ScenePrompt
from scenepipe.register import find_registers

REGISTERS = Path(__file__).parent.parent / "registers"
MODEL = "gemma-3-270m"
NAMES = ("poet", "philosopher", "body", "logician")
TEXTS = (
    ("Почему я не чувствую шаг в себе?", "ru", ("дрожь", "тишина", "вход")),
    ("Why can I not feel the step in me?", "en", ("trembling", "silence", "entrance")),
    ("Снег лёг на старую крышу.", "ru", ("снег", "крыша", "дом")),
    ("The letter came a year too late.", "en", ("letter", "door", "year")),
)
PROMPTS = [ScenePrompt(text, language, linkage=linkage).render() for text, language, linkage in TEXTS]


def mixtures(kind: str, count: int) -> list[Weights]:
    """Who speaks in each row: the base, one register, one of four in turn, or a mixture that no other row has."""
    if kind == "base":
        return [{}] * count
    if kind == "one":
        return [{NAMES[0]: 1.0}] * count
    if kind == "four":
        return [{NAMES[row % 4]: 1.0} for row in range(count)]
    return [
        {name: round((1 + (row >> place) % 5 + place) / 40, 4) for place, name in enumerate(NAMES)}
        for row in range(count)
    ]


class Ours:
    """The generation loop of the backend, with or without a bank."""

    def __init__(self, base: Any, adapters: Mapping[str, Any], prompts: Sequence[str]) -> None:
        from scenepipe.backends.transformers_engine import TransformersEngine

        self._engine = TransformersEngine(
            base, adapters, context=512, parallel=len(prompts), max_batch_tokens=512, threads=None
        )
        self._names = tuple(adapters)
        self._prompts = prompts

    def measure(self, rows: Sequence[Weights], tokens: int) -> float:
        """Tokens a second."""
        return asyncio.run(self._all(rows, tokens))

    async def _all(self, rows: Sequence[Weights], tokens: int) -> float:
        started = time.perf_counter()
        spoken = sum(await asyncio.gather(*(self._one(number, each, tokens) for number, each in enumerate(rows))))
        return spoken / (time.perf_counter() - started)

    async def _one(self, number: int, weights: Weights, tokens: int) -> int:
        used = of(weights)
        request = Request(
            prompt=self._prompts[number],
            plan=Plan(asked=used, used=used, mode="exact"),
            max_tokens=tokens,
        )
        prompt = self._engine.prompts.of(request)
        row = self._engine.row(request, prompt, [weights.get(name, 0.0) for name in self._names], number, None)
        row.ends = frozenset()  # every row says as many tokens, here as there
        self._engine.submit(row)
        while True:
            event = await row.outlet.queue.get()
            if isinstance(event, Exception):
                raise event
            if event.usage is not None:
                return event.usage.reply_tokens

    def close(self) -> None:
        self._engine.close()


def twin(model: Any) -> Any:
    """Another module tree over the same numbers, so that what wraps one does not touch the other.

    Its parameters are its own: PEFT freezes those of its base, and a frozen weight takes another way through
    ``torch.nn.functional.linear``, up to ten times slower in bfloat16.
    """
    import copy

    from torch.nn import Parameter

    return copy.deepcopy(model, {id(one): Parameter(one.data, one.requires_grad) for one in model.parameters()})


class Rig:
    """Everything that can be measured, made when it is first asked for."""

    def __init__(self, model: LocalModel, dtype: str, in_flight: int, vllm_python: str | None) -> None:
        self._model = model
        self._dtype = dtype
        self._vllm_python = vllm_python
        self._closing: list[Callable[[], None]] = []
        self.rows = in_flight
        self.prompts = [PROMPTS[number % len(PROMPTS)] for number in range(in_flight)]
        self._registers = find_registers(NAMES, [REGISTERS])
        self._folders = {name: self._registers[name].adapters[MODEL] for name in NAMES}

    @cached_property
    def _base(self) -> Any:
        from scenepipe.backends.transformers_load import LoadOptions, load

        options = LoadOptions(
            weights=None,
            dtype=self._dtype,
            device="cpu",
            device_map=None,
            max_memory=None,
            offload_folder=None,
            quantization=None,
            attention="auto",
        )
        return load(self._model, options, 512)

    def _ours(self, names: Sequence[str]) -> Ours:
        from dataclasses import replace

        adapters = {name: load_adapter(self._folders[name]) for name in names}
        made = Ours(replace(self._base, model=twin(self._base.model)), adapters, self.prompts)
        self._closing.append(made.close)
        return made

    @cached_property
    def bare(self) -> Ours:
        return self._ours(())

    @cached_property
    def bank(self) -> Ours:
        return self._ours(NAMES)

    @cached_property
    def peft(self) -> Peft:
        return self._peft(cast=False)

    @cached_property
    def peft_loaded(self) -> Peft:
        return self._peft(cast=True)

    def _peft(self, *, cast: bool) -> Peft:
        return Peft(twin(self._base.model), self._base.tokenizer, self._folders, self.prompts, cast=cast)

    @cached_property
    def _llama(self) -> Any:
        from dataclasses import replace

        from scenepipe.backends.llama_cpp import LlamaCpp
        from scenepipe.backends.llama_engine import LlamaEngine
        from scenepipe.models.gguf_lora import gguf_adapter

        options = replace(LlamaCpp().options, parallel=self.rows, context=512)
        return LlamaEngine(options, self._model.gguf, [gguf_adapter(self._registers[n], self._model) for n in NAMES])

    @cached_property
    def llama(self) -> Llama:
        return Llama(self._llama, NAMES, self.prompts)

    @cached_property
    def vllm(self) -> Vllm:
        from scenepipe.models.dequantise import safetensors_of

        if self._vllm_python is None:
            sys.exit("--only vllm needs --vllm-python: the interpreter of an environment with vLLM")
        made = Vllm(self._vllm_python, safetensors_of(self._model), self._folders, self.prompts)
        self._closing.append(made.close)
        return made

    def close(self) -> None:
        for close in self._closing:
            close()


class Part(NamedTuple):
    """What runs in turns, by name: which member of the rig, and who speaks; the first over the ``over`` is the ratio."""

    measures: Mapping[str, tuple[str, str]]
    over: str
    least: Callable[[str], float]


FOUR = {"bank, four registers": ("bank", "four")}
PARTS: dict[str, Part] = {
    "overhead": Part(
        {**FOUR, "bare base": ("bare", "base"), "bank, base rows": ("bank", "base")}, "bare base", lambda _: 0.8
    ),
    "mixtures": Part(
        {"bank, a mixture a row": ("bank", "mixtures"), "bank, one register": ("bank", "one"), **FOUR},
        "bank, one register",
        lambda _: 0.9,
    ),
    "peft": Part(
        {**FOUR, "PEFT, four registers": ("peft", "four")},
        "PEFT, four registers",
        lambda dtype: 1.1 if dtype == "float32" else 2.0,
    ),
    "peft-loaded": Part(
        {**FOUR, "PEFT as it loads them": ("peft_loaded", "four")},
        "PEFT as it loads them",
        lambda dtype: 1.1 if dtype == "float32" else 2.0,
    ),
    "llama-cpp": Part(
        {
            **FOUR,
            "llama.cpp, grouped": ("llama", "one"),
            "llama.cpp, as they come": ("llama", "four"),
            "llama.cpp, base": ("llama", "base"),
        },
        "llama.cpp, grouped",
        lambda _: 1.1,
    ),
    "vllm": Part(
        {**FOUR, "vLLM, four registers": ("vllm", "four"), "vLLM, base": ("vllm", "base")},
        "vLLM, four registers",
        lambda _: 2.0,
    ),
}
WARM_TOKENS = 2


def rounds(rig: Rig, part: Part, count: int, tokens: int) -> dict[str, list[float]]:
    """Figures round by round, after a short one that is thrown away; every other round goes the other way about."""
    figures: dict[str, list[float]] = {name: [] for name in part.measures}
    for number in range(-1, count):
        for name in list(part.measures)[:: 1 if number % 2 else -1]:
            member, kind = part.measures[name]
            figure = getattr(rig, member).measure(mixtures(kind, rig.rows), tokens if number >= 0 else WARM_TOKENS)
            if number >= 0:
                print(f"  round {number}: {name} {figure:.1f}", file=sys.stderr, flush=True)
                figures[name].append(figure)
    return figures


def report(figures: Mapping[str, Sequence[float]], part: Part, dtype: str) -> None:
    for name, told in figures.items():
        print(f"  {name:26} {statistics.median(told):7.1f} tokens/s   ({min(told):.1f} to {max(told):.1f})")
    first = next(iter(figures))
    ratio = statistics.median(a / b for a, b in zip(figures[first], figures[part.over], strict=True))
    print(f"  {first} over {part.over}: {ratio:.2f} (at least {part.least(dtype)})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="a part; again for another")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], action="append")
    parser.add_argument("--vllm-python", help="interpreter of an environment with vLLM")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    model = pull(MODEL)
    for dtype in asked.dtype or ["bfloat16", "float32"]:
        for name in asked.only or [name for name in PARTS if name != "vllm" or asked.vllm_python]:
            print(f"\n{name}: {dtype}, {asked.in_flight} in flight, {asked.tokens} tokens each", flush=True)
            rig = Rig(model, dtype, asked.in_flight, asked.vllm_python)
            try:
                report(rounds(rig, PARTS[name], asked.rounds, asked.tokens), PARTS[name], dtype)
            finally:
                rig.close()


if __name__ == "__main__":
    main()
