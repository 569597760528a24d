"""A scene as labelled facts: the one list that the card, its plain form and ``memory show`` draw from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scenepipe.cli.labels import encounters, said, tokens, visible, words
from scenepipe.register import Register
from scenepipe.scene import Echo, Emotion, Scene, Symbol

MINUS = "\u2212"


@dataclass(frozen=True)
class Bar:
    """One named share in 0..1. ``style`` is a rich style; ``mark`` an emoji or symbol."""

    name: str
    share: float
    style: str
    mark: str = ""


@dataclass(frozen=True)
class Fact:
    """One line of a card.

    Args:
        key: field of the scene.
        label: in the scene's language.
        text: the value in words.
        bars: shares drawn as bars where there is room for bars.
        quiet: what explains the value: causes, reasons.
        items: several values of equal rank, each with its own explanation.
    """

    key: str
    label: str
    text: str = ""
    bars: tuple[Bar, ...] = ()
    quiet: str = ""
    items: tuple[tuple[str, str], ...] = ()

    def plain(self) -> str:
        """One line without any drawing."""
        shares = ", ".join(f"{bar.name} {bar.share:.2f}".strip() for bar in self.bars)
        items = "; ".join(f"{text} ({why})" if why else text for text, why in self.items)
        head = " ".join(part for part in (shares, self.text, items) if part)
        return f"{self.label}: {head} ({self.quiet})" if self.quiet else f"{self.label}: {head}"


@dataclass(frozen=True)
class Voices:
    """Titles, marks and colours of the registers of a pipeline; a colour stays with its register."""

    registers: Mapping[str, Register] = field(default_factory=dict)

    _STYLES = ("cyan", "magenta", "yellow", "green", "blue", "bright_red")

    def bar(self, name: str, share: float, language: str) -> Bar:
        register = self.registers.get(name)
        place = sorted(self.registers).index(name) if register else sum(name.encode())
        title = register.titles.get(language, name) if register else name
        mark = register.emoji or register.symbol if register else ""
        return Bar(title, share, self._STYLES[place % len(self._STYLES)], mark)


def facts(scene: Scene, voices: Voices, language: str) -> list[Fact]:
    """Everything that is known about the scene so far, but its text and its reply."""
    label = words(language)
    found = [
        _symbols(scene, label),
        _hypertokens(scene, label),
        _linkage(scene, label),
        _delta(scene, label, language),
        _emotion(scene.emotion, label),
        _tension(scene, label, language),
        _registers(scene, voices, label, language),
        _echoes(scene, label, language),
        _resonance(scene, label, language),
    ]
    return [fact for fact in found if fact is not None]


def _symbols(scene: Scene, label: dict[str, str]) -> Fact | None:
    if scene.symbols is None:
        return None
    keys = dict.fromkeys(visible(symbol.key) for symbol in scene.symbols)
    return Fact("symbols", label["symbols"], ", ".join(keys) or label["none"])


def _hypertokens(scene: Scene, label: dict[str, str]) -> Fact | None:
    if not scene.hypertokens:
        return None
    items = tuple((visible(token.name), "·".join(map(visible, token.chain))) for token in scene.hypertokens)
    return Fact("hypertokens", label["hypertokens"], items=items)


def _linkage(scene: Scene, label: dict[str, str]) -> Fact | None:
    if scene.linkage is None:
        return None
    return Fact("linkage", label["linkage"], "·".join(map(visible, scene.linkage.chain)) or label["none"])


def associated(scene: Scene) -> frozenset[str]:
    """Keys of the hyperscene's symbols that are not in the text."""
    return frozenset(symbol.key for symbol in scene.hyperscene or () if _is_associated(symbol))


def _is_associated(symbol: Symbol) -> bool:
    return symbol.origin != "text"


def _delta(scene: Scene, label: dict[str, str], language: str) -> Fact | None:
    if scene.delta is None:
        return None
    gloss = scene.delta.gloss.get(language) or next(iter(scene.delta.gloss.values()), "")
    return Fact("delta", label["delta"], str(scene.delta), quiet=visible(gloss))


def _emotion(emotion: Emotion | None, label: dict[str, str]) -> Fact | None:
    if emotion is None:
        return None
    values = [(name, getattr(emotion, name).value) for name in ("valence", "arousal", "dominance")]
    known = [f"{label[name]} {signed(value)}" for name, value in values if value is not None]
    return Fact("emotion", label["emotion"], ", ".join(known) or label["unknown"])


def signed(value: float) -> str:
    """``+0.30``, ``−0.12``, ``0.00``: a true minus sign, no sign on zero."""
    text = f"{abs(value):.2f}"
    return text if float(text) == 0 else (MINUS if value < 0 else "+") + text


def _tension(scene: Scene, label: dict[str, str], language: str) -> Fact | None:
    if scene.tension is None:
        return None
    causes = ", ".join(said(cause.name, language) for cause in sorted(scene.tension.causes, key=lambda c: -c.amount))
    level = scene.tension.level.value
    if level is None:
        return Fact("tension", label["tension"], label["unknown"], quiet=causes)
    style = "green" if level < 0.34 else "yellow" if level < 0.67 else "red"
    return Fact("tension", label["tension"], bars=(Bar("", level, style),), quiet=causes)


def _registers(scene: Scene, voices: Voices, label: dict[str, str], language: str) -> Fact | None:
    if scene.registers is None:
        return None
    ordered = sorted(scene.registers.weights.items(), key=lambda pair: (-pair[1], pair[0]))
    bars = [voices.bar(name, weight, language) for name, weight in ordered]
    return Fact("registers", label["registers"], bars=(*bars, Bar(label["base"], scene.registers.base, "dim", "·")))


def _echoes(scene: Scene, label: dict[str, str], language: str) -> Fact | None:
    if not scene.echoes:
        return None
    quote = "«{}»" if language == "ru" else "“{}”"
    items = tuple(
        (
            quote.format(visible(shorten(echo.text, 90))),
            "; ".join([*(said(reason, language) for reason in echo.reasons), *cited(echo, language)]),
        )
        for echo in scene.echoes
    )
    return Fact("echoes", label["echoes"], items=items)


def cited(echo: Echo, language: str) -> list[str]:
    """Where an echo was read, with the characters there: ``read in notes.md, 120–260``; nothing where it was not."""
    if echo.source is None:
        return []
    place = f", {echo.span[0]}–{echo.span[1]}" if echo.span else ""
    return [f"{words(language)['read_in']} {visible(echo.source)}{place}"]


def _resonance(scene: Scene, label: dict[str, str], language: str) -> Fact | None:
    met = scene.resonance
    if met is None:
        return None
    if not met.encounters or met.strength is None:
        return Fact("resonance", label["resonance"], label["never_met"])
    last = f", {label['last_met']} {day(met.last)}" if met.last else ""
    return Fact(
        "resonance",
        label["resonance"],
        bars=(Bar("", met.strength, "blue"),),
        quiet=encounters(met.encounters, language) + last,
    )


def day(moment: datetime) -> str:
    """Local time to the minute."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def shorten(text: str, width: int) -> str:
    """One line of at most ``width`` characters."""
    line = " ".join(text[: width * 4].split())
    return line if len(line) <= width and len(text) <= width * 4 else line[: width - 1].rstrip() + "…"


def caption(scene: Scene, language: str) -> str:
    """How the reply came: tokens, seconds, what the mixture was and how it was honoured."""
    if scene.reply is None:
        return ""
    label, usage, receipt = words(language), scene.reply.usage, scene.reply.receipt
    speed = [tokens(usage.reply_tokens, language), f"{usage.seconds:.1f} {label['seconds']}"]
    seed = [f"{label['seed']} {receipt.seed}"] if receipt.seed is not None else []
    return " · ".join([receipt.mode, *(speed if usage.reply_tokens else ()), *seed])


def plain_lines(scene: Scene, voices: Voices, language: str) -> list[str]:
    """The whole card as ``label: value`` lines, for pipes and files."""
    label = words(language)
    found = [f"{label['text']}: {visible(scene.text)}", *(fact.plain() for fact in facts(scene, voices, language))]
    if scene.reply is not None:
        found += [f"{label['receipt']}: {caption(scene, language)}", f"{label['reply']}:", visible(scene.reply.text)]
    return found + [f"{name}: {form}" for name, form in forms(scene, language).items()]


def forms(scene: Scene, language: str) -> dict[str, str]:
    """The rendered forms beside the text, by their names in the scene's language."""
    label = words(language)
    label["delta"] = label["delta_answer"]
    rendered = (scene.outputs or {}).items()
    return {label.get(name, visible(name)): visible(form) for name, form in rendered if name != "text" and form}
