"""The guide of engines: its pipelines are right, and its table says what the backends claim."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scenepipe.backends.openai import OpenAI
from scenepipe.backends.openai_flavours import FLAVOURS, FlavourName
from scenepipe.config import parse_config
from scenepipe.registry import default_registry

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "docs" / "guide").glob("engines*.md"))
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_pipelines_build_their_backends(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_KEY", "k")
    bodies = _BLOCK.findall(page.read_text(encoding="utf-8"))
    assert len(bodies) == 4
    for body in bodies:
        backend = parse_config(body, source=page.name).backend
        assert backend is not None
        assert default_registry().load("backend", backend.use)(**backend.options)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_table_of_tools_says_who_calls_them(page: Path) -> None:
    _, _, section = page.read_text(encoding="utf-8").partition("| `tool_choice` | `parallel_tool_calls` |")
    told = {}
    for line in section.partition("\n\n")[0].splitlines()[2:]:
        name, _, choice, parallel = (cell.strip() for cell in line.strip("|").split("|"))
        wishes = (("required", "`required`" in choice), ("named", "," in choice), ("parallel", parallel != "–"))
        told[name.strip("`")] = tuple(wish for wish, known in wishes if known)
    chats = {name: row.chat for name, row in FLAVOURS.items()}
    assert told == {name: chat.tools for name, chat in chats.items() if chat is not None and chat.tools is not None}


def yes(cell: str) -> bool:
    """Whether a cell says yes without more words; it says no with a dash."""
    assert cell in ("yes", "да", "–")
    return cell != "–"


def cells(page: Path, engine: str) -> list[str]:
    """Mixture, streaming, JSON Schema and log-probabilities in the one row that begins so."""
    (row,) = (line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {engine}"))
    return [cell.strip() for cell in row.split("|")[2:6]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize("name", ["llama-cpp", "transformers", "vllm", "triton"])
def test_its_table_says_what_each_native_engine_claims(page: Path, name: str) -> None:
    given = {"url": "http://h", "served": "m", "adapters": {"poet": "p"}} if name == "triton" else {}
    can = default_registry().load("backend", name)(**given).capabilities
    mixture, streaming, schema, logprobs = cells(page, f"`{name}`,")
    assert mixture.startswith(can.mixtures[0])
    assert yes(streaming) == can.streaming
    assert yes(schema) == can.json_schema
    assert logprobs == (str(can.logprobs) if can.logprobs else "–")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_its_table_says_what_each_flavour_claims(page: Path, flavour: FlavourName) -> None:
    mixture, streaming, schema, logprobs = cells(page, f"`openai`, `flavour: {flavour}`")
    prompt, chat = (
        OpenAI(url="http://h", flavour=flavour, endpoint=each).capabilities for each in ("completions", "chat")
    )
    assert yes(streaming) == prompt.streaming
    assert logprobs.split(",")[0] == (str(prompt.logprobs) if prompt.logprobs else "–")
    if chat.json_schema and not prompt.json_schema:
        assert schema in ("with `endpoint: chat`", "с `endpoint: chat`")
    else:
        assert yes(schema) == prompt.json_schema
    modes = {"scales": "exact", "loaded": "premerged", "none": "–"}
    assert mixture.startswith(modes.get(FLAVOURS[flavour].lora, "premerged"))
