"""A whole pipeline over a server, with the settings that a user's has: its stop strings, its sampling, its archive."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import scenepipe
from scenepipe.scene import Receipt

_PIPELINE = """
scenepipe: 1
name: over a server
model: {model}
backend: {backend}
registers: [poet, philosopher]
memory: {{use: sqlite, path: {home}/archive.db}}
stages:
  - sentencepiece
  - rule-scene
  - use: route
  - recall
  - {{use: decode, max_tokens: 24, seed: 1, mixture: {mixture}}}
  - remember
  - render
"""


def spoken(home: Path, mixture: str, **backend: Any) -> list[Receipt]:
    """Receipts of two scenes, one in Russian and one in English, that were spoken at once."""
    file = home / "pipeline.yaml"
    text = _PIPELINE.format(model="gemma-3-270m", backend=json.dumps(backend), home=home, mixture=mixture)
    file.write_text(text, encoding="utf-8")

    async def scenario() -> list[Receipt]:
        async with scenepipe.load(file) as pipe:
            asked = ("Почему я не чувствую шаг в себе?", "Why can I not feel the step in me?")
            scenes = await asyncio.gather(*(pipe.arun(each) for each in asked))
        replies = [scene.reply for scene in scenes]
        assert all(reply and reply.text.strip() for reply in replies)
        return [reply.receipt for reply in replies if reply]

    return asyncio.run(scenario())
