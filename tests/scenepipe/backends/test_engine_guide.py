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
@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_its_table_says_what_each_flavour_claims(page: Path, flavour: FlavourName) -> None:
    (row,) = (line for line in page.read_text(encoding="utf-8").splitlines() if f"`flavour: {flavour}`" in line)
    _, _, mixture, streaming, schema, logprobs, *_ = (cell.strip() for cell in row.split("|"))
    prompt, chat = (
        OpenAI(url="http://h", flavour=flavour, endpoint=each).capabilities for each in ("completions", "chat")
    )
    assert streaming in ("yes", "да")
    assert logprobs.split(",")[0] == (str(prompt.logprobs) if prompt.logprobs else "–")
    words = "" if prompt.json_schema else "`endpoint: chat`" if chat.json_schema else "–"
    assert words in schema
    modes = {"scales": "exact", "loaded": "premerged", "none": "–"}
    assert mixture.startswith(modes.get(FLAVOURS[flavour].lora, "premerged"))
