"""Adapters at servers: names, numbers, runtime loading, the canary; and the options of the openai backend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from scenepipe.backends.canary import Told, without_effect
from scenepipe.backends.openai import OpenAI
from scenepipe.backends.openai_flavours import FLAVOURS
from scenepipe.config import parse_config
from scenepipe.contracts import AdapterProof, Message, Request
from scenepipe.errors import BackendError, ConfigError, DeadlineError, MixtureError
from scenepipe.mixture import Mixture, of
from scenepipe.models.adapter import adapter_sha256
from scenepipe.register import Register
from scenepipe.registry import default_registry
from scenepipe.testing.backend_suite import EN, GREEDY, RU, collect, plan, say
from tests.scenepipe.backends.servers.fake import FakeServer, Refused
from tests.scenepipe.backends.servers.fields import fields
from tests.scenepipe.backends.servers.vocabulary import NAMES, REGISTERS

ROOT = Path(__file__).parents[3] / "registers"


def run(
    server: FakeServer, registers: list[Register], use: Callable[[OpenAI, Any], Awaitable[Any]], **options: Any
) -> Any:
    """What ``use`` makes of an open backend and its proofs."""

    async def scenario() -> Any:
        backend = OpenAI(url=server.url, flavour=server.flavour, **options)  # type: ignore[arg-type]
        proofs = await backend.open(None, registers)
        try:
            return await use(backend, proofs)
        finally:
            await backend.aclose()

    return asyncio.run(scenario())


async def proofs_of(backend: OpenAI, proofs: Any) -> Any:
    return list(proofs)


def speaks(mixture: str, mode: Any = "premerged", prompt: str = RU) -> Callable[[OpenAI, Any], Awaitable[str]]:
    async def use(backend: OpenAI, proofs: Any) -> str:
        return await say(backend, prompt=prompt, max_tokens=6, sampling=GREEDY, plan=plan(mixture, mode))

    return use


def posted(server: FakeServer, path: str) -> list[Any]:
    return [asked.body for asked in server.asked if asked.path == path]


# --- the canary ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["generic", "vllm", "llama-server", "tgi"])
def test_an_ignored_adapter_is_found_and_refused_or_told(flavour: str, shipped: list[Register], tmp_path: Path) -> None:
    """A server that takes every name and speaks as the base."""
    more: dict[str, Any] = {"composed": str(tmp_path)} if flavour == "vllm" else {}
    more |= {"adapters": {name: name for name in NAMES}} if flavour == "generic" else {}
    with FakeServer(flavour, adapters=() if flavour == "vllm" else NAMES, ignores=True) as server:
        with pytest.raises(
            BackendError, match=r"the same with and without the adapter of poet, philosopher: it ignores it"
        ):
            run(server, shipped, proofs_of, **more)
        proofs = run(server, shipped, proofs_of, verify="unverified", **more)
    hashes = [adapter_sha256(folder) for register in shipped for folder in register.adapters.values()]
    assert proofs == [
        AdapterProof(register_name=name, sha256=sha256, zero_effect=True)
        for name, sha256 in zip(NAMES, hashes, strict=True)
    ]


def test_the_canary_knows_noise_from_effect() -> None:
    answers = iter([{"a": -1.0, "b": -2.0}, {"a": -1.01, "b": -2.0}, {"a": -1.03, "b": -2.0}, {"a": -1.3, "b": -2.0}])

    async def ask(mixture: Mixture) -> Told:
        return Told("same", next(answers))

    samples = {"idle": [of({"idle": 1.0})], "awake": [of({"awake": 1.0})]}
    assert asyncio.run(without_effect(ask, samples)) == ["idle"]


def test_the_canary_does_not_believe_a_server_that_says_something_else_each_time() -> None:
    answers = iter(["one", "two", "three"])

    async def ask(mixture: Mixture) -> Told:
        return Told(next(answers), {})

    assert asyncio.run(without_effect(ask, {"poet": [of({"poet": 1.0})]})) == ["poet"]


def test_a_server_that_speaks_under_another_name_is_found_in_the_reply(shipped: list[Register], tmp_path: Path) -> None:
    with FakeServer("vllm") as server:

        async def use(backend: OpenAI, proofs: Any) -> None:
            events = server._openai_events

            def renamed(reply: Any, body: dict[str, Any], chat: bool) -> Any:
                return events(reply, {**body, "model": "base-model"}, chat)

            server._openai_events = renamed  # type: ignore[method-assign]
            with pytest.raises(
                BackendError, match=r"spoke as 'base-model' where 'poet.*was asked for: it ignores adapters"
            ):
                await say(backend, prompt=RU, sampling=GREEDY, plan=plan("poet", "premerged"))

        run(server, shipped, use, composed=str(tmp_path))


# --- names and numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flavour", "adapters", "field", "name"),
    [
        ("nim", None, "model", "poet"),
        ("lmdeploy", None, "model", "poet"),
        ("sglang", None, "model", "base-model:poet"),
        ("ollama", {"poet": "poet", "philosopher": "philosopher"}, "model", "poet"),
        ("nim", {"poet": "philosopher"}, "model", "philosopher"),
    ],
)
def test_a_register_is_asked_for_by_its_name_there(flavour: str, adapters: Any, field: str, name: str) -> None:
    with FakeServer(flavour, adapters=NAMES) as server:
        more = {"served": "base-model"} if flavour == "ollama" else {}
        assert run(server, REGISTERS, speaks("poet"), adapters=adapters, **more)
        assert server.asked[-1].body[field] == name


def test_tgi_takes_adapter_ids_and_its_chat_model_names() -> None:
    with FakeServer("tgi", adapters=NAMES) as server:
        assert run(server, REGISTERS, speaks("poet"))
        replies = posted(server, "/generate_stream")
        assert replies[-1]["parameters"]["adapter_id"] == "poet"
        assert "adapter_id" not in replies[0]["parameters"]
        assert run(server, REGISTERS, speaks("poet"), endpoint="chat")
        assert server.asked[-1].body["model"] == "poet"
        assert posted(server, "/v1/chat/completions")[0]["model"] == "tgi"


def test_a_mixture_or_a_weight_that_is_not_deployed_is_refused() -> None:
    with FakeServer("nim", adapters=NAMES) as server:
        for mixture, mode in (("poet@0.6+philosopher@0.4", "premerged"), ("poet@0.7", "top1")):
            with pytest.raises(MixtureError, match=r"no adapter for the mixture .* it has philosopher@1, poet@1"):
                run(server, REGISTERS, speaks(mixture, mode))


def test_a_register_without_a_name_is_refused_when_opening() -> None:
    with (
        FakeServer("generic") as server,
        pytest.raises(
            BackendError, match=r"register 'poet' has no name at this server; .*adapters: \{poet: ITS_NAME\}"
        ),
    ):
        run(server, REGISTERS, proofs_of)


@pytest.mark.parametrize(
    ("there", "adapters"),
    [
        (["poet", "philosopher"], None),
        (["philosopher", "poet"], None),
        (["x", "philosopher", "y", "poet"], None),
        (["a", "b"], None),
        (["a", "b", "c"], {"poet": "0", "philosopher": "2"}),
        (["a", "b"], {"poet": "b.gguf", "philosopher": "/adapters/a.gguf"}),
    ],
    ids=["as here", "reversed", "more", "by order", "numbers", "files"],
)
def test_llama_server_adapters_are_found_and_all_scales_are_sent(there: list[str], adapters: Any) -> None:
    with FakeServer("llama-server", adapters=there) as server:
        assert run(server, REGISTERS, speaks("poet@0.6", "exact"), adapters=adapters)
        scales = [each["scale"] for each in posted(server, "/completion")[-1]["lora"]]
    place = (
        {"poet": there.index("poet")} if "poet" in there else {"poet": 1 if adapters and "b" in adapters["poet"] else 0}
    )
    assert scales == [0.6 if number == place["poet"] else 0.0 for number in range(len(there))]


@pytest.mark.parametrize(
    ("there", "adapters", "words"),
    [
        (["poet", "x", "y"], None, r"register 'philosopher' is not among its adapters \(0: /adapters/poet.gguf, 1"),
        ([], None, r"register 'poet' is not among its adapters \(none\); start it with llama-server -m"),
        (["a", "b"], {"poet": "0", "philosopher": "0"}, "two registers have the same adapter"),
        (["a", "b"], {"poet": "7"}, "register 'poet' is not among its adapters"),
    ],
)
def test_llama_server_without_an_adapter_is_refused(there: list[str], adapters: Any, words: str) -> None:
    with FakeServer("llama-server", adapters=there) as server, pytest.raises(BackendError, match=words):
        run(server, REGISTERS, proofs_of, adapters=adapters)


def test_llama_server_silences_its_adapters_for_the_base_and_gives_its_slots() -> None:
    with FakeServer("llama-server", adapters=NAMES) as server:

        async def use(backend: OpenAI, proofs: Any) -> int:
            await say(backend, prompt=RU, sampling=GREEDY)
            return backend.capabilities.parallel

        assert run(server, [], use) == 3
        assert posted(server, "/completion")[-1]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]
        assert run(server, [], use, parallel=2) == 2


# --- vLLM: loaded when asked for -------------------------------------------------------------------------------------


def test_vllm_loads_the_least_recently_used_out(shipped: list[Register], tmp_path: Path) -> None:
    with FakeServer("vllm", most=2) as server:

        async def use(backend: OpenAI, proofs: Any) -> list[list[str]]:
            seen = []
            for mixture in ("poet", "philosopher", "poet", "poet@0.6+philosopher@0.4", "poet", "base"):
                await say(backend, prompt=RU, max_tokens=2, sampling=GREEDY, plan=plan(mixture, "premerged"))
                seen.append(sorted(name.partition("-")[0] for name in server.adapters))
            return seen

        seen = run(server, shipped, use, composed=str(tmp_path), max_cpu_loras=2)
        assert server.adapters == {}, "closing takes them out again"
        loads = len(posted(server, "/v1/load_lora_adapter"))
    assert [len(each) for each in seen] == [2] * 6
    assert loads == 5, "three for the canary, one for the mixture, one for the base, which had made room"


def test_vllm_speaks_as_the_base_by_an_adapter_of_zeros(shipped: list[Register], tmp_path: Path) -> None:
    """A server on a CPU, where a row without an adapter gets its neighbour's; alone, the base needs none."""
    with FakeServer("vllm", leaks=True) as server:
        alone = run(server, [], speaks("base"))
        assert posted(server, "/v1/completions")[-1]["model"] == "base-model"

        async def use(backend: OpenAI, proofs: Any) -> list[str]:
            assert not any(proof.zero_effect for proof in proofs)
            return [await speaks(mixture)(backend, proofs) for mixture in ("poet", "base", "philosopher@0.3", "base")]

        poet, base, _, again = run(server, shipped, use, composed=str(tmp_path))
        names = [body["model"].partition("-")[0] for body in posted(server, "/v1/completions")[-4:]]
        scored = run(server, shipped, _scores_as_the_base, composed=str(tmp_path))
        asked = posted(server, "/v1/completions")[-1]["model"]
    assert names == ["poet", "base", "philosopher", "base"]
    assert base == again == alone != poet
    assert scored
    assert asked.startswith("base-")
    assert asked != "base-model"


async def _scores_as_the_base(backend: OpenAI, proofs: Any) -> Any:
    return await backend.score(Request(prompt=RU, plan=plan("base", "premerged")), " Тишина.")


def test_vllm_loads_a_mixture_once_for_many_and_keeps_what_speaks(shipped: list[Register], tmp_path: Path) -> None:
    mixtures = ["poet", "philosopher", "poet@0.5", "philosopher@0.5"]
    with FakeServer("vllm", most=2, delay_s=0.01) as server:

        async def use(backend: OpenAI, proofs: Any) -> list[str]:
            asked = [
                say(backend, prompt=prompt, max_tokens=8, sampling=GREEDY, plan=plan(mixture, "premerged"))
                for mixture in mixtures
                for prompt in (RU, EN, RU)
            ]
            return await asyncio.gather(*asked)

        told = run(server, shipped, use, composed=str(tmp_path), max_cpu_loras=2)
    assert all(told[at] == told[at + 2] for at in range(0, 12, 3))
    assert len(set(told)) > 4


def test_vllm_waits_for_a_place_until_the_deadline(shipped: list[Register], tmp_path: Path) -> None:
    with FakeServer("vllm", most=1, delay_s=0.1) as server:

        async def use(backend: OpenAI, proofs: Any) -> None:
            first = asyncio.create_task(say(backend, prompt=RU, sampling=GREEDY, plan=plan("poet", "premerged")))
            await asyncio.sleep(0.3)
            deadline = asyncio.get_running_loop().time() + 0.2
            with pytest.raises(DeadlineError, match="all 1 places for adapters spoke until the deadline"):
                await say(backend, prompt=RU, plan=plan("philosopher", "premerged"), deadline=deadline)
            assert await first

        run(server, shipped, use, composed=str(tmp_path), max_cpu_loras=1)


def test_vllm_that_was_started_again_is_given_its_adapters_again(shipped: list[Register], tmp_path: Path) -> None:
    with FakeServer("vllm") as server:

        async def use(backend: OpenAI, proofs: Any) -> tuple[str, str]:
            before = await say(backend, prompt=RU, max_tokens=4, sampling=GREEDY, plan=plan("poet", "premerged"))
            server.adapters.clear()
            return before, await say(backend, prompt=RU, max_tokens=4, sampling=GREEDY, plan=plan("poet", "premerged"))

        before, after = run(server, shipped, use, composed=str(tmp_path))
    assert before == after


def test_vllm_that_never_knows_an_adapter_it_has_loaded_is_asked_twice(
    shipped: list[Register], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer("vllm") as server:

        async def use(backend: OpenAI, proofs: Any) -> list[Any]:
            def unknown(name: str | None) -> str:
                raise Refused(f"The model `{name}` does not exist.", 404)

            monkeypatch.setattr(server, "_voice", unknown)
            server.asked.clear()
            with pytest.raises(BackendError, match="HTTP 404: The model `poet.*` does not exist"):
                await say(backend, prompt=RU, sampling=GREEDY, plan=plan("poet", "premerged"))
            return posted(server, "/v1/completions")

        assert len(run(server, shipped, use, composed=str(tmp_path))) == 2


def test_vllm_that_has_an_adapter_already_is_not_asked_twice(shipped: list[Register], tmp_path: Path) -> None:
    with FakeServer("vllm") as server:

        async def use(backend: OpenAI, proofs: Any) -> str:
            other = OpenAI(url=server.url, flavour="vllm", composed=str(tmp_path))
            await other.open(None, shipped)  # loads the same names
            told = await say(other, prompt=RU, max_tokens=4, sampling=GREEDY, plan=plan("poet", "premerged"))
            await other.aclose()
            return told

        assert run(server, shipped, use, composed=str(tmp_path))


def test_vllm_that_loads_nothing_or_takes_no_such_rank_says_how_to_start_it(
    shipped: list[Register], tmp_path: Path
) -> None:
    with (
        FakeServer("vllm", runtime=False) as server,
        pytest.raises(BackendError, match="It loads no adapters at run time: start it as VLLM_ALLOW_RUNTIME"),
    ):
        run(server, shipped, proofs_of, composed=str(tmp_path))
    with FakeServer("vllm") as server, pytest.raises(MixtureError, match="rank"):
        run(server, shipped, speaks("poet@0.5+philosopher@0.5"), composed=str(tmp_path), max_rank=16)


def test_the_model_is_found_or_must_be_named() -> None:
    with FakeServer("vllm") as server:
        with pytest.raises(BackendError, match=r"does not serve 'another'; possible: base-model"):
            run(server, [], proofs_of, served="another")
        server.adapters["old"] = "/old"
        assert run(server, [], speaks("base"))
    with FakeServer("generic", adapters=["x"]) as server:
        server._page = lambda path: type(server)._page(server, "/none")  # type: ignore[method-assign]
        with pytest.raises(BackendError, match="HTTP 404"):
            run(server, [], proofs_of)
        assert run(server, [], speaks("base"), served="base-model")


# --- options and wires -----------------------------------------------------------------------------------------------


def test_wrong_options_are_all_named() -> None:
    with pytest.raises(ConfigError) as raised:
        OpenAI(url="ftp://x", flavour="generic", max_rank=8, composed="/c", adapters={"poet@2": "p", "a+a": "q"})
    told = str(raised.value)
    for words in ("url:", "max_rank: only vllm", "composed: only vllm", "adapters.poet@2", "adapters.a+a", "5 faults"):
        assert words in told
    for url in ("http://user:pass@host:1", "http://host/?a=1", "host:80"):
        with pytest.raises(ConfigError, match="url"):
            OpenAI(url=url)
    for flavour in ("vllm", "tabbyapi"):
        with pytest.raises(ConfigError, match="adapters: "):
            OpenAI(url="http://host", flavour=flavour, adapters={"poet": "p"})  # type: ignore[arg-type]


def test_a_key_is_a_secret_of_the_configuration() -> None:
    text = (
        "scenepipe: 1\nname: t\nencoder: null\nbackend:\n  use: openai\n  url: http://127.0.0.1:1/v1\n  served: m\n"
        "  api_key: {secret: SOME_KEY}\nstages: [rule-scene]\n"
    )
    config = parse_config(text, source="t.yaml", registry=default_registry(), env={"SOME_KEY": "value"})
    assert config.backend is not None
    assert config.backend.options["api_key"] == SecretStr("value")
    with pytest.raises(ConfigError, match="secret"):
        parse_config(text.replace("{secret: SOME_KEY}", "value"), source="t.yaml", registry=default_registry(), env={})


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_every_name_of_the_table_is_documented(flavour: str) -> None:
    """The table of flavours and the documented fields were written apart."""
    row = FLAVOURS[flavour]  # type: ignore[index]
    for endpoint in (row.prompt, row.chat):
        assert endpoint is not None
        if endpoint.wire in ("completions", "chat", "llama"):
            assert set(endpoint.sampling.values()) <= fields(flavour, endpoint.path)


def test_chat_puts_a_prompt_into_a_message_and_tells_reasoning_apart() -> None:
    with FakeServer("generic") as server:

        async def use(backend: OpenAI, proofs: Any) -> Any:
            effort = GREEDY.model_copy(update={"reasoning_effort": "low"})
            chunks = await collect(backend, prompt="Why?", max_tokens=3, sampling=effort)
            messages = (Message(role="system", content="Be kind."), Message(role="user", content="Why?"))
            return chunks, await say(backend, messages=messages, max_tokens=3, sampling=GREEDY)

        chunks, said = run(server, [], use, endpoint="chat")
        first, second = posted(server, "/v1/chat/completions")
    assert first["messages"] == [{"role": "user", "content": "Why?"}]
    assert first["reasoning_effort"] == "low"
    assert [message["role"] for message in second["messages"]] == ["system", "user"]
    assert "".join(chunk.reasoning for chunk in chunks) == "hm"
    assert said


def test_without_a_vocabulary_nobody_counts() -> None:
    with FakeServer("generic") as server:

        async def use(backend: OpenAI, proofs: Any) -> None:
            with pytest.raises(BackendError, match=r"counts no tokens, .* name the model that it serves with 'model:'"):
                await backend.count("тишина")

        run(server, [], use)
