"""Do all engines say the same? The next-token distribution of the same scenes and mixtures, against Transformers in float32.

    python benchmarks/engine_parity.py [--only llama-cpp] [--scenes 50] [--vllm-python .venv-vllm/bin/python] [--out told.json]

50 texts of ``benchmarks/data/router.jsonl``, half of each language, become scene prompts by ``rule-scene``; each is
asked under six mixtures of the shipped registers: the base, two single registers, two pairs, one triple. Every engine
runs in a process of its own, through its scenepipe backend with `Request.logprobs`, and tells the likeliest tokens of
the first place of the reply, before any sampling. ``vllm`` runs in the environment that ``--vllm-python`` names;
``openai`` asks the server at SCENEPIPE_VLLM_URL.

Printed for each engine: how often its likeliest token is the reference's where the reference's first is more than 0.3
nat ahead of its second, and the mean Kullback-Leibler divergence of the engine from the reference, over the reference's
50 likeliest tokens and one bucket for all others. A token that an engine does not tell among its own counts with that
bucket, which makes the figure a lower bound; how much of the reference's mass such tokens have is printed, too. Tokens
are compared by their text. Targets: mean KL at most 0.02, top-1 at least 0.97.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from scenepipe.contracts import Backend, Request
from scenepipe.mixture import Plan, parse
from scenepipe.models.fetch import local, pull
from scenepipe.prompt import ScenePrompt
from scenepipe.register import find_registers
from scenepipe.sampling import Sampling

ROOT = Path(__file__).parent.parent
TEXTS = ROOT / "benchmarks" / "data" / "router.jsonl"
MODEL = "gemma-3-270m"
NAMES = ("poet", "philosopher", "body", "logician")
MIXTURES = (
    "base",
    "poet",
    "philosopher",
    "poet@0.6+logician@0.4",
    "body@0.5+philosopher@0.5",
    "poet@0.4+body@0.3+logician@0.3",
)
REFERENCE = "transformers float32"
LIKELIEST = 50
MARGIN = 0.3
MOST_KL, LEAST_TOP1 = 0.02, 0.97
IN_FLIGHT = 8
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0)

Distribution = dict[str, float]
"""Natural-log probability by token text."""
Told = dict[str, dict[str, Distribution | None]]
"""By mixture and prompt; None where the first token ended the reply, which tells nothing."""


def engines() -> dict[str, tuple[str, dict[str, Any]]]:
    """Backend and options by the name that is printed."""
    known: dict[str, tuple[str, dict[str, Any]]] = {
        REFERENCE: ("transformers", {"dtype": "float32", "parallel": IN_FLIGHT, "context": 512}),
        "transformers bfloat16": ("transformers", {"dtype": "bfloat16", "parallel": IN_FLIGHT, "context": 512}),
        "llama-cpp": ("llama-cpp", {"parallel": IN_FLIGHT, "context": 512}),
        "vllm": (
            "vllm",
            {"dtype": "bfloat16", "parallel": IN_FLIGHT, "context": 512, "engine": {"gpu_memory_utilization": 0.3}},
        ),
    }
    if url := os.environ.get("SCENEPIPE_VLLM_URL"):
        composed = tempfile.mkdtemp(prefix="scenepipe-parity-")
        known["openai"] = ("openai", {"url": url, "flavour": "vllm", "composed": composed, "parallel": IN_FLIGHT})
    return known


# --- the prompts -----------------------------------------------------------------------------------------------------


def prompts(count: int) -> list[str]:
    """Scene prompts, half of them Russian."""
    from scenepipe.encoders.usem3 import Usem3Encoder
    from scenepipe.modules.rule_scene import RuleScene
    from scenepipe.modules.sentencepiece import SentencePieceTokenizer
    from scenepipe.pipeline import Pipeline
    from scenepipe.scene import Scene

    rows = [json.loads(line) for line in TEXTS.read_text("utf-8").splitlines()]
    half = count // 2
    russian, english = ([r["text"] for r in rows if r["language"] == language] for language in ("ru", "en"))
    texts = russian[:half] + english[: count - half]
    stages = [("sentencepiece", SentencePieceTokenizer()), ("builder", RuleScene())]
    with Pipeline(stages, encoder=Usem3Encoder(), model=lambda: pull(MODEL)) as pipe:
        scenes = [scene for scene in pipe.map(texts) if isinstance(scene, Scene)]
    return [
        ScenePrompt(
            scene.text,
            scene.language.code if scene.language else "und",
            linkage=scene.linkage.unfolds if scene.linkage else (),
        ).render()
        for scene in scenes
    ]


# --- one engine ------------------------------------------------------------------------------------------------------


def work(engine: str) -> None:
    """Read prompts as JSON from standard input, ask the engine, write what it told as JSON to the file named there."""
    given = json.load(sys.stdin)
    told = asyncio.run(_ask(engine, given["prompts"]))
    Path(given["out"]).write_text(json.dumps(told), "utf-8")


async def _ask(engine: str, given: Sequence[str]) -> Told:
    from scenepipe.registry import default_registry

    name, options = engines()[engine]
    backend: Backend = default_registry().load("backend", name)(**options)
    registers = find_registers(NAMES, [ROOT / "registers"])
    await backend.open(local(MODEL), list(registers.values()))
    try:
        return {mixture: await _one_mixture(backend, mixture, given) for mixture in MIXTURES}
    finally:
        await backend.aclose()


async def _one_mixture(backend: Backend, mixture: str, given: Sequence[str]) -> dict[str, Distribution | None]:
    free, spoken = asyncio.Semaphore(IN_FLIGHT), parse(mixture)
    plan = Plan(asked=spoken, used=spoken, mode=backend.capabilities.mixtures[0])
    most = min(2 * LIKELIEST, backend.capabilities.logprobs)

    async def one(prompt: str) -> Distribution | None:
        request = Request(prompt=prompt, plan=plan, max_tokens=1, logprobs=most, sampling=GREEDY)
        async with free:
            tokens = [token async for chunk in backend.generate(request) for token in chunk.logprobs]
        return _summed((each.token, each.logprob) for each in tokens[0].top) if tokens else None

    return dict(zip(given, await asyncio.gather(*map(one, given)), strict=True))


def _summed(pairs: Iterable[tuple[str, float]]) -> Distribution:
    """Tokens of the same text together."""
    shares: dict[str, float] = {}
    for text, logprob in pairs:
        shares[text] = shares.get(text, 0.0) + math.exp(logprob)
    return {text: math.log(share) for text, share in shares.items() if share > 0}


def told_by(engine: str, given: Sequence[str], python: str) -> Told:
    """What an engine tells, in a process of its own."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="scenepipe-parity-") as folder:
        out = Path(folder) / "told.json"
        done = subprocess.run(
            [python, __file__, "--worker", engine],
            input=json.dumps({"prompts": list(given), "out": str(out)}),
            text=True,
            stdout=sys.stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        if done.returncode:
            sys.exit(f"{engine} failed; its own words are above")
        told: Told = json.loads(out.read_text("utf-8"))
    print(f"  {engine}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return told


# --- the comparison --------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """One distribution of an engine against the reference's.

    Args:
        kl: nats.
        lost: share of the reference's mass on tokens of its 50 that the engine did not tell.
        margin: by which the reference's likeliest token leads, nats.
        same: whether the likeliest token is the same.
    """

    kl: float
    lost: float
    margin: float
    same: bool


def compare(reference: Mapping[str, float], other: Mapping[str, float]) -> Pair:
    """The divergence of one distribution from the reference, over the reference's likeliest tokens and the rest."""
    likeliest = sorted(reference, key=lambda token: -reference[token])[:LIKELIEST]
    shared = [token for token in likeliest if token in other]
    pairs = [(math.exp(reference[token]), math.exp(other[token])) for token in shared]
    rest = tuple(max(1e-12, 1.0 - math.fsum(shares)) for shares in zip(*pairs, strict=True))
    kl = math.fsum(p * math.log(p / q) for p, q in [*pairs, rest])
    return Pair(
        kl=kl,
        lost=math.fsum(math.exp(reference[token]) for token in likeliest if token not in other),
        margin=reference[likeliest[0]] - reference[likeliest[1]],
        same=max(other, key=lambda token: other[token]) == likeliest[0],
    )


def pairs_of(reference: Told, other: Told, mixture: str) -> list[Pair]:
    return [
        compare(one, two)
        for prompt, one in reference[mixture].items()
        if one is not None and (two := other[mixture][prompt]) is not None
    ]


def report(engine: str, reference: Told, other: Told) -> bool:
    """Print an engine's figures; whether both targets are reached."""
    pairs = [pair for mixture in MIXTURES for pair in pairs_of(reference, other, mixture)]
    clear = [pair for pair in pairs if pair.margin > MARGIN]
    top1, kl = fmean(pair.same for pair in clear), fmean(pair.kl for pair in pairs)
    worst = sorted(pair.kl for pair in pairs)
    print(
        f"{engine}: top-1 {top1:.3f} (n = {len(clear)}), mean KL {kl:.4f} (n = {len(pairs)}, "
        f"95th percentile {worst[int(0.95 * (len(worst) - 1))]:.4f}, greatest {worst[-1]:.4f}, "
        f"mass not told {fmean(pair.lost for pair in pairs):.4f})"
    )
    for mixture in MIXTURES:
        part = pairs_of(reference, other, mixture)
        effect = pairs_of({mixture: reference["base"]}, reference, mixture)
        told = f"KL {fmean(pair.kl for pair in part):.4f}"
        print(f"    {mixture:32} {told}, the mixture from the base {fmean(pair.kl for pair in effect):.3f}")
    return kl <= MOST_KL and top1 >= LEAST_TOP1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="an engine beside the reference; again for another")
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--vllm-python", help="interpreter of the environment that has vLLM and scenepipe")
    parser.add_argument("--out", type=Path, help="keep every distribution in this JSON file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.worker)
        return
    given = prompts(asked.scenes)
    names = [name for name in engines() if name != REFERENCE and (name != "vllm" or asked.vllm_python)]
    chosen = [name for name in names if not asked.only or name in asked.only]
    if not chosen:
        sys.exit(f"--only {asked.only} is none of {', '.join(names)}")
    told = {
        name: told_by(name, given, asked.vllm_python if name == "vllm" else sys.executable)
        for name in (REFERENCE, *chosen)
    }
    if asked.out:
        asked.out.write_text(json.dumps(told, ensure_ascii=False), "utf-8")
    print(f"{MODEL}, {len(given)} scenes x {len(MIXTURES)} mixtures, against {REFERENCE}")
    reached = [report(name, told[REFERENCE], told[name]) for name in chosen]
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
