"""The llama-cpp backend on the default model with the shipped registers."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from scenepipe.backends import llama_cpp
from scenepipe.backends.llama_cpp import LlamaCpp
from scenepipe.contracts import Backend, Message, Request
from scenepipe.errors import BackendError, DeadlineError
from scenepipe.models.adapter import Adapter, LowRank, load_adapter
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.gguf_lora import write_gguf_lora
from scenepipe.models.vocabulary import facts
from scenepipe.register import Register, adapter_of, examples, find_registers
from scenepipe.testing.backend_suite import EN, GREEDY, RU, BackendSuite, collect, plan, say

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[3] / "registers"
NAMES = ("poet", "philosopher")


@pytest.fixture(scope="module")
def lone(local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner) -> Iterator[LlamaCpp]:
    """An engine with one slot: what is tested there shares it with everything before."""
    backend = LlamaCpp(parallel=1, context=2048)
    runner.run(backend.open(local_model, shipped))
    yield backend
    runner.run(backend.aclose())


class TestConformance(BackendSuite):
    registers = NAMES
    batch_tolerance = 0.2  # requests of one mixture share a batch, whose matrix products are summed in another order

    async def token_ids(self, backend: Backend, text: str) -> list[int]:
        assert isinstance(backend, LlamaCpp)
        assert backend._engine is not None
        return await backend._words.tokens(text, special=False)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, local_model: LocalModel, runner: asyncio.Runner) -> Iterator[LlamaCpp]:
        backend = LlamaCpp(parallel=2, context=1024)
        runner.run(backend.open(local_model, list(find_registers(NAMES, [ROOT]).values())))
        yield backend
        runner.run(backend.aclose())


# --- opening ---------------------------------------------------------------------------------------------------------


def test_proofs_name_the_adapter_files_and_see_their_effect(
    local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner
) -> None:
    backend = LlamaCpp(parallel=1, context=256)
    proofs = runner.run(backend.open(local_model, shipped))
    runner.run(backend.aclose())
    assert [p.register_name for p in proofs] == [r.name for r in shipped]
    assert [p.sha256 for p in proofs] == [adapter_of(r, local_model).sha256 for r in shipped]
    assert not any(p.zero_effect for p in proofs)


def test_an_adapter_without_effect_is_found_out(
    local_model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: asyncio.Runner
) -> None:
    trained = load_adapter(ROOT / "poet" / "adapters" / "gemma-3-270m")
    modules = {name: LowRank(pair.a, np.zeros_like(pair.b)) for name, pair in trained.modules.items()}
    write_gguf_lora(Adapter(modules, "0" * 64), facts(local_model), tmp_path / "zero.gguf")
    backend = opening_with(tmp_path / "zero.gguf", monkeypatch)
    proofs = runner.run(backend.open(local_model, [None]))  # type: ignore[list-item]
    runner.run(backend.aclose())
    assert [p.zero_effect for p in proofs] == [True]


def opening_with(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> LlamaCpp:
    """A backend that loads this file for its one register."""

    class Named:
        name = "zero"

    monkeypatch.setattr(llama_cpp, "_adapters", lambda registers, model: ({"zero": "0" * 64}, [adapter]))
    backend = LlamaCpp(parallel=1, context=256)
    opened = backend.open
    monkeypatch.setattr(backend, "open", lambda model, registers: opened(model, [Named()]))  # type: ignore[list-item]
    return backend


def test_a_missing_a_foreign_and_a_cut_model_are_refused(
    local_model: LocalModel, tmp_path: Path, runner: asyncio.Runner
) -> None:
    def opened(path: Path) -> None:
        model = LocalModel(local_model.id, path, local_model.sha256, None, local_model.tokenizer_sha256)
        runner.run(LlamaCpp(parallel=1, context=256).open(model, []))

    with pytest.raises(BackendError, match="cannot be read"):
        opened(tmp_path / "missing.gguf")
    (tmp_path / "page.gguf").write_bytes(b"<html>not found</html>")
    with pytest.raises(BackendError, match="not a GGUF"):
        opened(tmp_path / "page.gguf")
    with local_model.gguf.open("rb") as file:
        (tmp_path / "cut.gguf").write_bytes(file.read(1_000_000))
    with pytest.raises(BackendError, match="failed to read key-value pairs"):
        opened(tmp_path / "cut.gguf")


def test_a_cut_adapter_is_refused_in_the_engines_words(
    local_model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: asyncio.Runner
) -> None:
    write_gguf_lora(load_adapter(ROOT / "poet" / "adapters" / "gemma-3-270m"), facts(local_model), tmp_path / "a.gguf")
    whole = (tmp_path / "a.gguf").read_bytes()
    (tmp_path / "a.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackendError, match="corrupted or incomplete"):
        runner.run(opening_with(tmp_path / "a.gguf", monkeypatch).open(local_model, []))


def test_no_model_and_no_open_are_named(runner: asyncio.Runner) -> None:
    with pytest.raises(BackendError, match="needs a model"):
        runner.run(LlamaCpp().open(None, []))
    with pytest.raises(BackendError, match="not open"):
        runner.run(say(LlamaCpp(), prompt=RU))
    with pytest.raises(BackendError, match="not open"):
        runner.run(LlamaCpp().count("a"))


def test_opening_twice_is_refused(lone: LlamaCpp, local_model: LocalModel, runner: asyncio.Runner) -> None:
    with pytest.raises(BackendError, match="open already"):
        runner.run(lone.open(local_model, []))


def test_the_port_answers_only_with_the_key(lone: LlamaCpp) -> None:
    assert lone._engine is not None
    address = lone._engine.address
    assert address.startswith("http://127.0.0.1:")
    with httpx.Client(base_url=address, trust_env=False) as client:
        assert client.post("/completion", json={"prompt": "a", "n_predict": 1}).status_code == 401
        assert client.get("/lora-adapters").status_code == 401
        assert client.get("/").status_code >= 400


# --- replies ---------------------------------------------------------------------------------------------------------


def test_a_trained_register_unfolds_the_linkage(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    stop = ("\n\n", "\nСцена:")
    base, spoken = (
        runner.run(say(lone, prompt=RU, max_tokens=60, seed=7, stop=stop, plan=plan(m))) for m in ("base", "poet")
    )
    assert spoken != base
    assert any(stem in spoken.lower() for stem in ("дрож", "тишин", "вход"))


def test_no_cache_crosses_mixtures(
    lone: LlamaCpp, local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner
) -> None:
    """One slot, the same prompt: A, B, A and the base say what a server that has seen nothing else says."""
    order = ("poet", "philosopher", "poet", "base", "poet@0.5+philosopher@0.5", "poet")

    def greedy(backend: LlamaCpp, mixture: str) -> str:
        return runner.run(say(backend, prompt=RU, max_tokens=16, sampling=GREEDY, seed=1, plan=plan(mixture)))

    told = [greedy(lone, mixture) for mixture in order]
    runner.run(lone.score(Request(prompt=RU, plan=plan("philosopher")), " Тишина — это вход."))
    told.append(greedy(lone, "poet"))
    for mixture in dict.fromkeys(order):
        fresh = LlamaCpp(parallel=1, context=2048)
        runner.run(fresh.open(local_model, shipped))
        alone = greedy(fresh, mixture)
        runner.run(fresh.aclose())
        assert {text for m, text in zip((*order, "poet"), told, strict=True) if m == mixture} == {alone}


def test_bytes_of_rare_characters_arrive_whole(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    rare = "𓀀𝄞🜁ꙮ"
    assert runner.run(lone.count(rare)) > len(rare)
    chunks = runner.run(collect(lone, prompt="JSON:", max_tokens=80, json_schema={"const": rare}))
    assert json.loads("".join(chunk.text for chunk in chunks)) == rare
    assert not any("\ufffd" in chunk.text for chunk in chunks)


def test_a_reply_cut_inside_a_character_has_no_broken_end(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    rare = json.dumps("𓀀𓀀", ensure_ascii=False)
    for most in range(1, 9):
        text = runner.run(say(lone, prompt="JSON:", max_tokens=most, json_schema={"const": "𓀀𓀀"}))
        assert rare.startswith(text.strip())


def test_text_held_back_for_a_stop_string_comes_when_the_tokens_end(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    whole = runner.run(say(lone, prompt=RU, max_tokens=8, sampling=GREEDY))
    held = runner.run(collect(lone, prompt=RU, max_tokens=8, sampling=GREEDY, stop=(whole[-2:] + "\x07",)))
    assert "".join(chunk.text for chunk in held) == whole
    assert held[-1].finish_reason == "length"


def test_a_schema_that_the_engine_cannot_compile_is_not_passed_over(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    with pytest.raises(BackendError, match="JSON Schema"):
        runner.run(say(lone, prompt="Once upon a time", max_tokens=20, json_schema={"type": "nonsense"}))


def test_a_prompt_over_the_context_says_how_much_fits(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    with pytest.raises(BackendError, match=r"300\d tokens and 2048 fit; raise backend\.context"):
        runner.run(say(lone, prompt="x " * 3000))


def test_the_context_is_for_each_request(
    local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner
) -> None:
    async def scenario() -> list[str]:
        backend = LlamaCpp(parallel=3, context=256)
        await backend.open(local_model, shipped)
        try:
            prompt = "x " * 230
            return await asyncio.gather(*(say(backend, prompt=prompt, max_tokens=8, seed=n) for n in range(3)))
        finally:
            await backend.aclose()

    assert all(runner.run(scenario()))


def test_what_looks_like_a_control_token_is_text(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    assert runner.run(lone.count("<eos>")) > 1
    scores = runner.run(lone.score(Request(prompt="<bos><eos>"), " <eos>"))
    assert "".join(score.token for score in scores) == " <eos>"


def test_messages_go_through_the_template(
    lone: LlamaCpp, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default model has no template; llama.cpp's own stand-in shows that messages reach it."""
    monkeypatch.setattr(lone, "capabilities", lone.capabilities.model_copy(update={"chat": True}))
    message = Message(role="user", content="Why is it silent?")
    chunks = runner.run(collect(lone, messages=(message,), max_tokens=4))
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens > runner.run(lone.count(message.content)) + 5


# --- time ------------------------------------------------------------------------------------------------------------


def test_cancelling_while_the_prompt_is_read_frees_the_slot(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    long = "тишина и шаг, " * 390

    async def whole() -> float:
        started = time.monotonic()
        await say(lone, prompt=long, max_tokens=1)
        return time.monotonic() - started

    async def after_cancelling() -> float:
        task = asyncio.create_task(say(lone, prompt=long, max_tokens=1))
        await asyncio.sleep(0.1)
        task.cancel()
        started = time.monotonic()
        await say(lone, prompt=RU, max_tokens=1)
        return time.monotonic() - started

    # Seen on two quiet cores: 4.2 s for the whole prompt, 1.5 s until the next request was answered: llama.cpp looks
    # at its connections once a second, and between two batches. The best of three, for a machine that is busy.
    assert min(runner.run(after_cancelling()) for _ in range(3)) < 0.7 * runner.run(whole())


def test_dropping_a_reply_stops_the_engine(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    async def scenario() -> float:
        async for _ in lone.generate(Request(prompt=RU, max_tokens=1900)):
            break
        started = time.monotonic()
        await say(lone, prompt=RU, max_tokens=1)
        return time.monotonic() - started

    # 1,900 tokens take half a minute on two quiet cores.
    assert runner.run(scenario()) < 8.0


def test_a_deadline_counts_while_a_request_waits_for_its_slot(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    async def scenario() -> tuple[bool, str]:
        running = asyncio.create_task(say(lone, prompt=RU, max_tokens=40, sampling=GREEDY))
        while not lone._slots.busy:
            await asyncio.sleep(0.01)
        with pytest.raises(DeadlineError, match="raise deadline_s"):
            await say(lone, prompt=EN, max_tokens=4, deadline=time.monotonic() + 0.1)
        return running.done(), await running

    was_done, text = runner.run(scenario())
    assert not was_done
    assert text


def test_closing_fails_what_runs_and_ends_the_threads(local_model: LocalModel, shipped: list[Register]) -> None:
    async def scenario() -> float:
        backend = LlamaCpp(parallel=2, context=1024)
        await backend.open(local_model, shipped)
        running = [asyncio.create_task(say(backend, prompt=RU, max_tokens=900, seed=n)) for n in range(3)]
        while backend._slots.busy < 2:
            await asyncio.sleep(0.01)
        started = time.monotonic()
        await backend.aclose()
        seconds = time.monotonic() - started
        results = await asyncio.gather(*running, return_exceptions=True)
        assert all(isinstance(result, BackendError) for result in results), results
        return seconds

    python, system = threading.active_count(), _system_threads()
    seconds = [asyncio.run(scenario()) for _ in range(3)]
    assert max(seconds) < 5.0
    assert threading.active_count() <= python
    # An engine left running has over ten threads; OpenMP and the HTTP server keep a few idle ones, now more, now fewer.
    assert _system_threads() < system + 10


def _system_threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0


CHILD = """
import asyncio, sys
from pathlib import Path
from scenepipe.backends.llama_cpp import LlamaCpp
from scenepipe.contracts import Request
from scenepipe.models.fetch import local
from scenepipe.register import find_registers
from scenepipe.testing.backend_suite import RU, plan, say

async def main():
    backend = LlamaCpp(parallel=1, context=256)
    registers = list(find_registers(["poet"], [Path(sys.argv[1])]).values())
    await backend.open(local("gemma-3-270m"), registers)
    text = await say(backend, prompt=RU, max_tokens=4, plan=plan("poet"))
    await backend.score(Request(prompt=RU), text)
    if sys.argv[2] == "close":
        await backend.aclose()
    elif sys.argv[2] == "drop":
        asyncio.ensure_future(say(backend, prompt=RU, max_tokens=200))
        await asyncio.sleep(0.1)
    return backend

kept = asyncio.run(main())
print("done")
"""


@pytest.mark.parametrize("way", ["close", "leave", "drop"])
def test_a_process_ends_by_itself_and_the_engine_prints_nothing(way: str, local_model: LocalModel) -> None:
    """Closed, left open, or left in the middle of a reply."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD, str(ROOT), way],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


# --- score -----------------------------------------------------------------------------------------------------------

GOLDEN = json.loads((Path(__file__).parent / "transformers_logprobs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: row["reply"][:12])
def test_score_agrees_with_transformers(row: dict[str, Any], lone: LlamaCpp, runner: asyncio.Runner) -> None:
    """The file says how its figures were made; llama.cpp rounds activations to 8 bits, Transformers does not."""
    scores = runner.run(lone.score(Request(prompt=row["prompt"], plan=plan(row["mixture"])), row["reply"]))
    ours, theirs = [score.logprob for score in scores], row["logprobs"]
    assert len(ours) == len(theirs)
    assert abs(_mean(ours) - _mean(theirs)) < 0.1
    assert _mean([abs(a - b) for a, b in zip(ours, theirs, strict=True)]) < 0.2


def test_score_is_of_the_raw_distribution(lone: LlamaCpp, runner: asyncio.Runner) -> None:
    """The likeliest tokens' probabilities sum to at most 1, and greedy picks the one scored highest."""
    spoken = runner.run(say(lone, prompt=RU, max_tokens=1, sampling=GREEDY))
    others = [" Дрожь", " Тишина", " Вход", " Я", " Нет", " Почему"]
    scores = {text: runner.run(lone.score(Request(prompt=RU), text)) for text in dict.fromkeys([spoken, *others])}
    first = {scored[0].token: scored[0].logprob for scored in scores.values()}
    assert max(first, key=first.__getitem__) == spoken
    assert sum(math.exp(logprob) for logprob in first.values()) <= 1.0


def test_a_register_scores_its_own_replies_higher(
    lone: LlamaCpp, shipped: list[Register], runner: asyncio.Runner
) -> None:
    from scenepipe.prompt import ScenePrompt

    for register in shipped:
        rows = [row for row in examples(register) if row.split == "test"][:2]
        means = {"base": 0.0, register.name: 0.0}
        for row in rows:
            prompt = ScenePrompt(row.text, row.language, linkage=row.linkage).render()
            for mixture in means:
                scores = runner.run(lone.score(Request(prompt=prompt, plan=plan(mixture)), " " + row.reply))
                means[mixture] += _mean([score.logprob for score in scores])
        assert means[register.name] > means["base"] + 0.3 * len(rows)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
