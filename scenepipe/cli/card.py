"""The card: a scene drawn in the terminal. Colours only add to what words and marks already say."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import ROUNDED
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.panel import Panel
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from scenepipe.cli.facts import Bar, Fact, Voices, associated, caption, facts, forms
from scenepipe.cli.labels import language_of, visible, words
from scenepipe.scene import Scene

WIDEST = 120
TWO_COLUMNS = 116
SHOWN_TEXT = 700
_OPENS = ("emotion", "registers", "echoes")  # an empty line stands before these
_RIGHT = ("registers", "echoes", "resonance")


class Gauge:
    """A bar for a share in 0..1 over the width it is given, to half a cell; readable without colours."""

    def __init__(self, bar: Bar, *, widest: int = 32) -> None:
        self.bar = bar
        self.widest = widest

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, self.widest)
        full, half = divmod(round(min(max(self.bar.share, 0.0), 1.0) * width * 2), 2)
        drawn = "━" * full + "╸" * half
        yield Segment(drawn, console.get_style(self.bar.style))
        yield Segment("─" * (width - len(drawn)), Style(dim=True))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(6, min(options.max_width, self.widest))


def scene_card(scene: Scene, voices: Voices, *, title: str, width: int, status: str = "") -> RenderableType:
    """The scene as far as it has formed, without its reply.

    Args:
        title: name of the pipeline.
        width: columns of the terminal.
        status: the stage at work, shown at the lower edge.
    """
    language = language_of(scene)
    known = facts(scene, voices, language)
    inner = min(width, WIDEST)
    body: list[RenderableType] = [Padding(marked_text(scene), (1, 0, 1, 0))]
    if inner >= TWO_COLUMNS:
        left = [fact for fact in known if fact.key not in _RIGHT]
        right = [fact for fact in known if fact.key in _RIGHT]
        body.append(_side_by_side(_grid(left, scene), _grid(right, scene)))
    elif known:
        body.append(_grid(known, scene))
    head = Text.assemble((words(language)["scene"], "bold"), (f" · {title}{_language(scene)}", "dim"))
    return Panel(
        Group(*body),
        title=head,
        title_align="left",
        subtitle=Text(status, style="dim") if status else None,
        subtitle_align="right",
        box=ROUNDED,
        border_style="dim",
        padding=(0, 2),
        width=inner,
    )


def reply_card(text: str, scene: Scene, *, width: int, writing: bool = False) -> RenderableType:
    """The reply as far as it has come, with the rendered forms and its receipt once it is whole."""
    language = language_of(scene)
    body = Text(visible(text), overflow="fold")
    if writing:
        body.append("▌", style="blink dim")
    parts: list[RenderableType] = [Padding(body, (1, 0, 1, 0))]
    rendered = forms(scene, language)
    if rendered and not writing:
        parts.append(_forms(rendered))
    note = "" if writing else caption(scene, language)
    return Panel(
        Group(*parts),
        title=Text(words(language)["reply"], style="bold"),
        title_align="left",
        subtitle=Text(note, style="dim") if note else None,
        subtitle_align="right",
        box=ROUNDED,
        border_style="cyan",
        padding=(0, 2),
        width=min(width, WIDEST),
    )


def marked_text(scene: Scene) -> Text:
    """The text with its symbols underlined; negated ones are red and, for terminals without colours, italic."""
    cut = len(scene.text) > SHOWN_TEXT
    text = Text(visible(scene.text[:SHOWN_TEXT]), style="bold", overflow="fold")
    for symbol in scene.symbols or ():
        for start, end in symbol.evidence:
            text.stylize("underline italic red" if symbol.polarity < 0 else "underline", start, end)
    if cut:
        text.append(f" … {len(scene.text):,} {words(language_of(scene))['characters']}", style="not bold dim")
    return text


def _language(scene: Scene) -> str:
    if scene.language is None:
        return ""
    return f" · {scene.language.code} {scene.language.confidence:.2f}"


def _grid(known: Iterable[Fact], scene: Scene) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for number, fact in enumerate(known):
        if number and fact.key in _OPENS:
            grid.add_row()
        grid.add_row(fact.label, _value(fact, scene))
    return grid


def _side_by_side(left: Table, right: Table) -> Table:
    both = Table.grid(padding=(0, 4, 0, 0), expand=True)
    both.add_column(ratio=1)
    both.add_column(ratio=1)
    both.add_row(left, right)
    return both


def _value(fact: Fact, scene: Scene) -> RenderableType:
    if fact.key == "registers":
        return _bars(fact.bars)
    if fact.bars:
        return Group(_bars(fact.bars), *([Text(fact.quiet, style="dim")] if fact.quiet else []))
    if fact.items:
        return Group(*(_item(text, why) for text, why in fact.items))
    return _words(fact, scene)


def _words(fact: Fact, scene: Scene) -> Text:
    if fact.key == "symbols" and scene.symbols:
        keys = {symbol.key: symbol.polarity for symbol in scene.symbols}
        return Text("  ").join(Text(visible(k), style="bold red" if p < 0 else "bold") for k, p in keys.items())
    if fact.key == "linkage" and scene.linkage is not None and scene.linkage.chain:
        far = associated(scene)
        links = [(visible(word), "italic cyan" if word in far else "bold cyan") for word in scene.linkage.chain]
        return Text.assemble(*[part for link in links for part in (("·", "dim"), link)][1:])
    text = Text(fact.text, style="bold" if fact.key == "delta" else "")
    return text.append(f"  {fact.quiet}", style="not bold dim") if fact.quiet else text


def _item(text: str, why: str) -> Text:
    line = Text(text)
    return line.append(f"\n{why}", style="dim") if why else line


def _bars(bars: Iterable[Bar]) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    named = [bar for bar in bars if bar.name]
    if named:
        grid.add_column(no_wrap=True, min_width=2)
        grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    for bar in bars:
        name: list[RenderableType] = [bar.mark, Text(bar.name, style=bar.style)] if named else []
        grid.add_row(*name, Gauge(bar), f"{bar.share:.2f}")
    return grid


def _forms(rendered: dict[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, form in rendered.items():
        grid.add_row(Text(name), Text(form))
    return grid
