"""``scenepipe explain``: what would happen to a text, found without loading a model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scenepipe.cli.facts import Voices
    from scenepipe.pipeline import Explanation, Pipeline
    from scenepipe.scene import Scene


def explain(
    pipeline: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped pipeline.")],
    text: Annotated[str, typer.Argument(help="The text.")],
    as_json: Annotated[bool, typer.Option("--json", help="The explanation as JSON.")] = False,
) -> None:
    """Show the scene, why each register has its weight, and the exact prompt; no model is called."""
    import asyncio

    from scenepipe.cli.console import is_rich, write_line
    from scenepipe.cli.meter import Meter
    from scenepipe.cli.opening import open_pipeline

    with Meter() as meter:
        pipe = open_pipeline(pipeline, meter)
        found = asyncio.run(_explain(pipe, text, meter))
    if as_json:
        write_line(_json(found))
    elif is_rich():
        _card(pipe, found)
    else:
        for line in plain(pipe, found):
            write_line(line)


async def _explain(pipe: Pipeline, text: str, meter: Any) -> Explanation:
    from scenepipe.cli.opening import running

    async with running(pipe, meter):
        return await pipe.aexplain(text)


def _json(found: Explanation) -> str:
    whole = found.model_dump(mode="json", exclude={"scene": True})
    return json.dumps({"scene": json.loads(found.scene.to_json()), **whole}, ensure_ascii=False)


def reasons(scene: Scene, voices: Voices, language: str) -> list[tuple[str, float, list[tuple[str, float]]]]:
    """Per register, heaviest first: its title, its weight, and each cause in words with its amount."""
    from scenepipe.cli.labels import said

    if scene.registers is None:
        return []
    ordered = sorted(scene.registers.weights.items(), key=lambda pair: (-pair[1], pair[0]))
    return [
        (
            voices.bar(name, weight, language).name,
            weight,
            [(said(reason.cause, language), reason.amount) for reason in scene.registers.reasons.get(name, ())],
        )
        for name, weight in ordered
    ]


def plain(pipe: Pipeline, found: Explanation) -> list[str]:
    """The explanation as lines without drawing."""
    from scenepipe.cli.facts import Voices, plain_lines, signed
    from scenepipe.cli.labels import language_of, words

    language, voices = language_of(found.scene), Voices(pipe.resources.registers)
    label = words(language)
    lines = plain_lines(found.scene, voices, language)
    for title, weight, causes in reasons(found.scene, voices, language):
        lines.append(f"{label['reasons']}: {title} {weight:.2f}")
        lines += [f"  {signed(amount)} {cause}" for cause, amount in causes]
    for stage, preview in found.previews.items():
        for key, value in preview.items():
            lines += [f"{stage} {key}:", value] if key == "prompt" else [f"{stage} {key}: {_words(value)}"]
    return [*lines, f"{label['left_out']}: {', '.join(found.left_out) or label['none']}"]


def _card(pipe: Pipeline, found: Explanation) -> None:
    from rich.text import Text

    from scenepipe.cli.card import scene_card
    from scenepipe.cli.console import stdout
    from scenepipe.cli.facts import Voices
    from scenepipe.cli.labels import language_of, words

    console = stdout()
    language, voices = language_of(found.scene), Voices(pipe.resources.registers)
    console.print(scene_card(found.scene, voices, title=pipe.name, width=console.width))
    console.print(_reason_panel(found.scene, voices, language, console.width))
    for stage, preview in found.previews.items():
        console.print(_preview_panel(stage, preview, language, console.width))
    left = ", ".join(found.left_out) or words(language)["none"]
    console.print(Text(f"  {words(language)['left_out']}: {left}", style="dim"))


def _panel(body: RenderableType, title: str, width: int) -> RenderableType:
    from rich.box import ROUNDED
    from rich.panel import Panel
    from rich.text import Text

    from scenepipe.cli.card import WIDEST

    head = Text(title, style="bold")
    return Panel(body, title=head, title_align="left", box=ROUNDED, border_style="dim", padding=(1, 2),
                 width=min(width, WIDEST))  # fmt: skip


def _reason_panel(scene: Scene, voices: Voices, language: str, width: int) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from scenepipe.cli.facts import signed
    from scenepipe.cli.labels import words

    label = words(language)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for title, weight, causes in reasons(scene, voices, language):
        grid.add_row(Text(f"{weight:.2f}", style="bold"), Text(title, style="bold"))
        for cause, amount in causes:
            grid.add_row(Text(signed(amount), style="dim"), Text(cause, style="dim"))
    if not grid.row_count:
        grid.add_row("", label["none"])
    return _panel(grid, f"{label['registers']}: {label['reasons']}", width)


def _preview_panel(stage: str, preview: dict[str, Any], language: str, width: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from scenepipe.cli.labels import visible, words

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in preview.items():
        if key != "prompt":
            grid.add_row(Text(visible(key)), Text(visible(_words(value))))
    parts: list[RenderableType] = [grid]
    if isinstance(preview.get("prompt"), str):
        parts += [Text(), Text(visible(preview["prompt"]), style="green", overflow="fold")]
    return _panel(Group(*parts), f"{words(language)['would']}: {stage}", width)


def _words(value: Any) -> str:
    """A preview's value in words: mappings as ``key value`` pairs."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner) if not isinstance(inner, dict) else '{' + _words(inner) + '}'}"
                         for key, inner in value.items()) or "—"  # fmt: skip
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "—"
    return f"{value:g}" if isinstance(value, float) else str(value)
