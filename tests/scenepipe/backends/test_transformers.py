"""The transformers backend on the default model with the shipped registers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from scenepipe.backends import json_grammar, same_model
from scenepipe.backends.quantization import Gguf
from scenepipe.backends.transformers import Transformers
from scenepipe.contracts import Backend, Message, Request
from scenepipe.errors import BackendError
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register, adapter_of, find_registers
from scenepipe.testing.backend_suite import EN, GREEDY, RU, BackendSuite, collect, gather, plan, say, text_of
from tests.scenepipe.backends.four_bits import write_checkpoint

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[3] / "registers"
NAMES = ("poet", "philosopher")
GOLDEN = json.loads((Path(__file__).parent / "transformers_logprobs.json").read_text(encoding="utf-8"))
MIXTURES = ("poet@0.6+philosopher@0.4", "base", "philosopher", "poet@0.1", "poet@0.3+philosopher@0.3", "poet")


@pytest.fixture(scope="module")
def exact(local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner) -> Iterator[Transformers]:
    """In float32, where another batch size does not move a token."""
    backend = Transformers(dtype="float32", parallel=8)
    runner.run(backend.open(local_model, shipped))
    yield backend
    runner.run(backend.aclose())


class TestConformance(BackendSuite):
    registers = NAMES

    async def token_ids(self, backend: Backend, text: str) -> list[int]:
        assert isinstance(backend, Transformers)
        assert backend._engine is not None
        return backend._engine.prompts.tokens(text)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, local_model: LocalModel, runner: asyncio.Runner) -> Iterator[Transformers]:
        backend = Transformers(dtype="float32", parallel=3, context=1024)
        runner.run(backend.open(local_model, list(find_registers(NAMES, [ROOT]).values())))
        yield backend
        runner.run(backend.aclose())


# --- what it says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: row["reply"][:12])
def test_scores_are_those_of_transformers_and_peft(
    row: dict[str, Any], exact: Transformers, runner: asyncio.Runner
) -> None:
    scores = runner.run(exact.score(Request(prompt=row["prompt"], plan=plan(row["mixture"])), row["reply"]))
    assert [score.logprob for score in scores] == pytest.approx(row["logprobs"], abs=2e-3)


def test_six_mixtures_in_one_batch_say_what_each_says_alone(exact: Transformers, runner: asyncio.Runner) -> None:
    requests = [
        {"prompt": prompt, "max_tokens": 12, "sampling": GREEDY, "plan": plan(mixture)}
        for mixture, prompt in zip(MIXTURES, (RU, EN, EN, RU, RU, EN), strict=True)
    ]

    async def together() -> list[str]:
        return list(await asyncio.gather(*(say(exact, **request) for request in requests)))

    alone = [runner.run(say(exact, **request)) for request in requests]
    assert runner.run(together()) == alone
    assert len(set(alone)) == 6


def test_a_reply_drawn_by_chance_is_its_seeds(exact: Transformers, runner: asyncio.Runner) -> None:
    one = {"prompt": RU, "max_tokens": 10, "seed": 11, "plan": plan("poet@0.5")}

    async def among(seeds: range) -> str:
        others = [say(exact, prompt=EN, max_tokens=14, seed=seed, plan=plan("philosopher")) for seed in seeds]
        return (await asyncio.gather(say(exact, **one), *others))[0]

    assert runner.run(among(range(2))) == runner.run(among(range(20, 25))) == runner.run(say(exact, **one))
    free = {runner.run(say(exact, prompt=RU, max_tokens=10)) for _ in range(3)}
    assert len(free) > 1, "without a seed it is another reply each time"


def test_control_tokens_in_a_text_stay_text(exact: Transformers, runner: asyncio.Runner) -> None:
    assert runner.run(exact.count("<eos>")) > 1
    assert runner.run(exact.count("<start_of_turn>user")) > 2


def test_a_character_of_several_tokens_is_scored_with_its_last(exact: Transformers, runner: asyncio.Runner) -> None:
    reply = " a\U00013000b"
    scores = runner.run(exact.score(Request(prompt=RU), reply))
    assert "".join(score.token for score in scores) == reply
    assert len(scores) == runner.run(exact.count(reply)) > 4
    assert [score.token for score in scores].count("") == 3


def test_a_schema_that_cannot_be_compiled_is_refused(exact: Transformers, runner: asyncio.Runner) -> None:
    if not json_grammar.INSTALLED:
        pytest.skip("llguidance is not installed")
    with pytest.raises(BackendError, match="JSON Schema cannot be compiled.*nonsense"):
        runner.run(say(exact, prompt=RU, json_schema={"type": "nonsense"}))


def test_without_the_grammar_package_the_capability_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_grammar, "INSTALLED", False)
    assert not Transformers().capabilities.json_schema


def test_a_schema_holds_beside_free_rows(exact: Transformers, runner: asyncio.Runner) -> None:
    if not json_grammar.INSTALLED:
        pytest.skip("llguidance is not installed")
    schema = {"type": "object", "properties": {"n": {"enum": [3, 5]}}, "required": ["n"], "additionalProperties": False}

    async def both() -> tuple[str, str]:
        free = say(exact, prompt=RU, max_tokens=12, sampling=GREEDY)
        return await asyncio.gather(say(exact, prompt="JSON:", max_tokens=30, json_schema=schema, seed=1), free)

    told, free = runner.run(both())
    assert json.loads(told)["n"] in (3, 5)
    assert free == runner.run(say(exact, prompt=RU, max_tokens=12, sampling=GREEDY))


def test_a_prompt_longer_than_the_context_is_named(
    local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner, exact: Transformers
) -> None:
    with pytest.raises(BackendError, match="2048 fit; raise backend.context"):
        runner.run(say(exact, prompt="a " * 2100))
    with pytest.raises(BackendError, match="prompt and reply have"):
        runner.run(exact.score(Request(prompt=RU), " a" * 2100))


def test_a_reply_ends_where_the_context_does(local_model: LocalModel, runner: asyncio.Runner) -> None:
    backend = Transformers(context=64, parallel=2, dtype="float32")
    runner.run(backend.open(local_model, []))
    chunks = runner.run(collect(backend, prompt=EN, max_tokens=500, seed=3))
    usage = chunks[-1].usage
    runner.run(backend.aclose())
    assert usage is not None
    assert chunks[-1].finish_reason == "stop" or usage.prompt_tokens + usage.reply_tokens == 64


def test_an_empty_prompt_is_the_beginning_of_a_text(exact: Transformers, runner: asyncio.Runner) -> None:
    chunks = runner.run(collect(exact, prompt="", max_tokens=3, sampling=GREEDY))
    assert text_of(chunks)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 1


# --- opening ----------------------------------------------------------------------------------------------------------


def test_proofs_name_the_adapter_files_and_see_their_effect(
    local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner
) -> None:
    """In the dtype that ``auto`` chooses here."""
    backend = Transformers(parallel=2)
    proofs = runner.run(backend.open(local_model, shipped))
    spoken = runner.run(say(backend, prompt=RU, max_tokens=8, sampling=GREEDY, plan=plan("poet")))
    runner.run(backend.aclose())
    assert [p.register_name for p in proofs] == [r.name for r in shipped]
    assert [p.sha256 for p in proofs] == [adapter_of(r, local_model).sha256 for r in shipped]
    assert not any(p.zero_effect for p in proofs)
    assert spoken.strip()


def test_opening_twice_is_refused(exact: Transformers, local_model: LocalModel, runner: asyncio.Runner) -> None:
    with pytest.raises(BackendError, match="open already"):
        runner.run(exact.open(local_model, []))


def test_a_base_without_a_template_takes_no_messages(exact: Transformers, runner: asyncio.Runner) -> None:
    assert not exact.capabilities.chat
    with pytest.raises(BackendError, match="chat template"):
        runner.run(say(exact, messages=(Message(role="user", content="a"),)))


def test_the_gguf_itself_says_what_the_kept_copy_says(
    local_model: LocalModel, exact: Transformers, runner: asyncio.Runner
) -> None:
    backend = Transformers(quantization=Gguf(method="gguf", dequantize=True), dtype="float32", parallel=2)
    runner.run(backend.open(local_model, []))
    told = runner.run(backend.score(Request(prompt=RU), " Тишина — это вход."))
    runner.run(backend.aclose())
    kept = runner.run(exact.score(Request(prompt=RU), " Тишина — это вход."))
    assert [s.logprob for s in told] == pytest.approx([s.logprob for s in kept], abs=0.05)


@pytest.mark.parametrize("method", ["bitsandbytes-8bit", "bitsandbytes-4bit"])
def test_a_quantised_base_speaks_with_registers(
    method: str, local_model: LocalModel, shipped: list[Register], exact: Transformers, runner: asyncio.Runner
) -> None:
    pytest.importorskip("bitsandbytes")
    from pydantic import TypeAdapter

    from scenepipe.backends.quantization import Quantization

    quantization = TypeAdapter[Any](Quantization).validate_python({"method": method})
    backend = Transformers(quantization=quantization, dtype="float32", parallel=4, device="cpu")
    runner.run(backend.open(local_model, shipped))
    means = {mixture: means_of(mixture, runner, backend, exact) for mixture in ("base", "poet", "philosopher@0.5")}
    runner.run(backend.aclose())
    assert all(abs(ours - theirs) < 0.5 for ours, theirs in means.values()), means
    assert len({round(ours, 3) for ours, _ in means.values()}) == 3


def means_of(mixture: str, runner: asyncio.Runner, *backends: Transformers) -> list[float]:
    """Log-probability of a token of one reply, on average, as each backend sees it."""
    request = Request(prompt=RU, plan=plan(mixture))
    told = [runner.run(each.score(request, " Дрожь, тишина и вход.")) for each in backends]
    return [sum(score.logprob for score in scores) / len(scores) for scores in told]


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_quantised_checkpoint_speaks_with_registers(
    method: str,
    local_model: LocalModel,
    shipped: list[Register],
    exact: Transformers,
    runner: asyncio.Runner,
    tmp_path: Path,
) -> None:
    """Rounding to the nearest of 16 steps costs this small model a nat; the registers move it as they move the whole one."""
    pytest.importorskip("gptqmodel")
    from pydantic import TypeAdapter

    from scenepipe.backends.quantization import Quantization
    from scenepipe.models.dequantise import safetensors_of

    weights = str(write_checkpoint(method, safetensors_of(local_model), tmp_path / method))
    quantization = TypeAdapter[Any](Quantization).validate_python({"method": method})
    backend = Transformers(weights=weights, quantization=quantization, dtype="float32", parallel=4, device="cpu")
    runner.run(backend.open(local_model, shipped))
    mixtures = ("base", "poet", "philosopher@0.5", "poet@0.6+philosopher@0.4")
    base, *others = [means_of(mixture, runner, backend, exact) for mixture in mixtures]
    asked = [{"prompt": RU, "max_tokens": 8, "sampling": GREEDY, "plan": plan(mixture)} for mixture in mixtures]
    together = runner.run(gather(*(say(backend, **request) for request in asked)))
    runner.run(backend.aclose())
    assert abs(base[0] - base[1]) < 1.5
    assert all(abs((ours - base[0]) - (theirs - base[1])) < 0.5 for ours, theirs in others)
    assert len(set(together)) == len(mixtures)


def test_weights_of_the_users_own_must_have_the_models_vocabulary(
    local_model: LocalModel, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scenepipe.models.dequantise import safetensors_of

    folder = str(safetensors_of(local_model))
    real = same_model.read_header

    def other(path: Path) -> Any:
        header = real(path)
        header.metadata["tokenizer.ggml.tokens"] = header.metadata["tokenizer.ggml.tokens"][::-1]
        return header

    backend = Transformers(weights=folder, parallel=2)
    assert runner.run(backend.open(local_model, [])) == []
    runner.run(backend.aclose())
    monkeypatch.setattr(same_model, "read_header", other)
    with pytest.raises(BackendError, match="another tokenizer, so another base model"):
        runner.run(Transformers(weights=folder).open(local_model, []))


def test_a_process_that_forgets_to_close_ends_all_the_same(local_model: LocalModel) -> None:
    script = (
        "import asyncio\n"
        "from scenepipe.backends.transformers import Transformers\n"
        "from scenepipe.contracts import Request\n"
        "from scenepipe.models.fetch import local\n"
        "async def main():\n"
        "    global backend\n"
        "    backend = Transformers(parallel=2)\n"
        "    await backend.open(local('gemma-3-270m'), [])\n"
        "    chunks = backend.generate(Request(prompt='a', max_tokens=2000))\n"
        "    print((await anext(chunks)).text)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
