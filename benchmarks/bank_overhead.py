"""What a bank of four registers costs, and what it gives beside PEFT's mixed batch: tokens a second, many in flight.

    OMP_NUM_THREADS=2 python benchmarks/bank_overhead.py [--rounds 5] [--in-flight 32] [--tokens 32] [--dtype bfloat16]

Everything runs in this process on one set of weights: the generation loop of the ``transformers`` backend over the bare
base, over the base with a bank, and `generate` of Transformers over the base wrapped by PEFT with ``adapter_names``,
which knows one adapter a row and no mixtures. All of them read the same prompts and draw the same number of tokens
with the same settings; a figure counts reading and drawing. Rounds are interleaved, so a busy machine slows all alike;
figures are medians, and a ratio is the median of each round's ratio. Targets: the bank costs at most 20 % of the bare
base, 32 different mixtures run at 0.9 of one register or better, PEFT is reached twice over in bfloat16 and 1.1 times
in float32.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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

Weights = Mapping[str, float]


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

    def __init__(self, base: Any, adapters: Mapping[str, Any], in_flight: int, tokens: int) -> None:
        from scenepipe.backends.transformers_engine import TransformersEngine

        self._engine = TransformersEngine(
            base, adapters, context=512, parallel=in_flight, max_batch_tokens=512, threads=None
        )
        self._names = tuple(adapters)
        self._in_flight = in_flight
        self._tokens = tokens

    def measure(self, kind: str) -> float:
        """Tokens a second."""
        return asyncio.run(self._all(mixtures(kind, self._in_flight)))

    async def _all(self, rows: Sequence[Weights]) -> float:
        started = time.perf_counter()
        spoken = sum(await asyncio.gather(*(self._one(number, each) for number, each in enumerate(rows))))
        return spoken / (time.perf_counter() - started)

    async def _one(self, number: int, weights: Weights) -> int:
        used = of(weights)
        request = Request(
            prompt=PROMPTS[number % len(PROMPTS)],
            plan=Plan(asked=used, used=used, mode="exact"),
            max_tokens=self._tokens,
        )
        prompt = self._engine.prompt(request)
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


class Peft:
    """PEFT's mixed batch: the same base with the four adapters, one name a row.

    Args:
        cast: keep the adapters in float32, as PEFT loads them by default.
    """

    def __init__(
        self, model: Any, tokenizer: Any, folders: Mapping[str, Path], in_flight: int, tokens: int, cast: bool
    ):
        from peft import PeftModel

        first, *others = folders
        self._model = PeftModel.from_pretrained(
            model, str(folders[first]), adapter_name=first, autocast_adapter_dtype=cast
        )
        for name in others:
            self._model.load_adapter(str(folders[name]), adapter_name=name, autocast_adapter_dtype=cast)
        self._model.eval()
        self._tokenizer = tokenizer
        self._in_flight = in_flight
        self._tokens = tokens

    def measure(self, kind: str) -> float:
        import torch

        names = [next(iter(weights), "__base__") for weights in mixtures(kind, self._in_flight)]
        prompts = [PROMPTS[number % len(PROMPTS)] for number in range(self._in_flight)]
        started = time.perf_counter()
        given = self._tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        torch.manual_seed(0)
        with torch.inference_mode():
            told = self._model.generate(
                **given,
                adapter_names=names,
                do_sample=True,
                temperature=0.7,
                top_k=40,
                top_p=0.95,
                min_p=0.05,
                min_new_tokens=self._tokens,
                max_new_tokens=self._tokens,
            )
        spoken = (told.shape[1] - given["input_ids"].shape[1]) * self._in_flight
        return float(spoken / (time.perf_counter() - started))


def twin(model: Any) -> Any:
    """Another module tree over the same weights, so that what wraps one does not touch the other."""
    import copy

    return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})


def measures(model: LocalModel, dtype: str, in_flight: int, tokens: int) -> dict[str, Callable[[], float]]:
    """What is compared, by name."""
    from dataclasses import replace

    from scenepipe.backends.transformers_load import LoadOptions, load

    options = LoadOptions(
        weights=None,
        dtype=dtype,
        device="cpu",
        device_map=None,
        max_memory=None,
        offload_folder=None,
        quantization=None,
        attention="auto",
    )
    base = load(model, options, 512)
    registers = find_registers(NAMES, [REGISTERS])
    folders = {name: registers[name].adapters[MODEL] for name in NAMES}
    adapters = {name: load_adapter(folder) for name, folder in folders.items()}
    bare = Ours(replace(base, model=twin(base.model)), {}, in_flight, tokens)
    bank = Ours(replace(base, model=twin(base.model)), adapters, in_flight, tokens)
    peft = {cast: Peft(twin(base.model), base.tokenizer, folders, in_flight, tokens, cast) for cast in (True, False)}
    compared: dict[str, Callable[[], float]] = {
        "bare base": lambda: bare.measure("base"),
        "bank, base rows": lambda: bank.measure("base"),
        "bank, one register": lambda: bank.measure("one"),
        "bank, four registers": lambda: bank.measure("four"),
        f"bank, {in_flight} mixtures": lambda: bank.measure("mixtures"),
        "PEFT, four registers": lambda: peft[False].measure("four"),
    }
    if dtype != "float32":
        compared["PEFT as it loads them"] = lambda: peft[True].measure("four")
    return compared


def rounds(compared: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Figures round by round, after one that is thrown away; every other round goes the other way about."""
    figures: dict[str, list[float]] = {name: [] for name in compared}
    for number in range(-1, count):
        order = list(compared) if number % 2 else list(compared)[::-1]
        for name in order:
            figure = compared[name]()
            print(f"  round {number}: {name} {figure:.1f}", file=sys.stderr, flush=True)
            if number >= 0:
                figures[name].append(figure)
    return figures


def ratio(figures: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(figures[one], figures[other], strict=True))


def report(figures: Mapping[str, Sequence[float]], dtype: str, in_flight: int, tokens: int) -> None:
    print(f"\n{dtype}, {in_flight} in flight, {tokens} tokens each")
    for name, told in figures.items():
        print(f"  {name:24} {statistics.median(told):7.1f} tokens/s   ({min(told):.1f} to {max(told):.1f})")
    names = [f"bank, {in_flight} mixtures", "bank, one register", "bank, four registers", "PEFT, four registers"]
    print(f"  the bank costs {1 - ratio(figures, names[2], 'bare base'):.1%} of the bare base (at most 20 %)")
    print(f"  {in_flight} mixtures over one register: {ratio(figures, names[0], names[1]):.2f} (at least 0.9)")
    least = 1.1 if dtype == "float32" else 2.0
    for peer in (name for name in figures if name.startswith("PEFT")):
        print(f"  four registers over {peer}: {ratio(figures, names[2], peer):.2f} (at least {least})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], action="append")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    model = pull(MODEL)
    for dtype in asked.dtype or ["bfloat16", "float32"]:
        report(
            rounds(measures(model, dtype, asked.in_flight, asked.tokens), asked.rounds),
            dtype,
            asked.in_flight,
            asked.tokens,
        )


if __name__ == "__main__":
    main()
