"""One text on a terminal: the card while it forms, then the reply as it streams."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, cast

from rich.console import Console, RenderableType
from rich.live import Live

from scenepipe import events as ev
from scenepipe.cli.card import reply_card, scene_card
from scenepipe.cli.facts import Voices
from scenepipe.cli.guard import say_error
from scenepipe.scene import Scene

if TYPE_CHECKING:
    from scenepipe.pipeline import Pipeline

FRAMES_A_SECOND = 12


class LiveCard:
    """Follows the events of one run.

    The scene's card is redrawn in place until the reply begins and then stays; below it the reply grows. What is redrawn
    is taken away and printed whole at the end, so a card higher than the terminal is never lost.
    """

    def __init__(self, console: Console, pipeline: Pipeline, scene: Scene) -> None:
        self._console = console
        self._name = pipeline.name
        self._voices = Voices(pipeline.resources.registers)
        self._speakers = {step.name for step in pipeline.steps if "reply" in step.writes}
        self._live: Live | None = None
        self._card_is_out = False
        self._reply = ""
        self._stage = ""
        self.scene = scene

    def handle(self, event: ev.Event) -> None:
        """Take in one event and redraw."""
        match event:
            case ev.RunStarted():
                self.scene = event.scene
            case ev.StageStarted(stage=stage):
                self._stage = stage
                if stage in self._speakers:
                    self._put_out()
            case ev.SceneUpdated(fields=fields):
                self._update(fields)
            case ev.Token(text=text):
                self._put_out()
                self._reply += text
            case ev.ReplyFinished(reply=reply):
                self._reply = reply.text
            case ev.Warned(stage=stage, message=message):
                say_error(f"{stage}: {message}")
            case ev.RunFinished(scene=scene):
                self.scene = scene
        self._draw()

    def _update(self, fields: dict[str, object]) -> None:
        shown = {name: value for name, value in fields.items() if name != "pieces"}
        changed = Scene.model_validate({**self.scene.model_dump(include={"id", "key", "text", "created"}), **shown})
        self.scene = self.scene.with_(**{name: getattr(changed, name) for name in shown})

    def _renderable(self) -> RenderableType:
        width = self._console.width
        if self._card_is_out:
            return reply_card(self._reply, self.scene, width=width, writing=True)
        return scene_card(self.scene, self._voices, title=self._name, width=width, status=f"{self._stage} …")

    def _draw(self) -> None:
        if self._live is None:
            self._live = Live(console=self._console, transient=True, refresh_per_second=FRAMES_A_SECOND)
            self._live.start()
        self._live.update(self._renderable())

    def _put_out(self) -> None:
        """Print the scene's card for good; from here on the reply is what moves."""
        if self._card_is_out:
            return
        self._stop()
        self._console.print(scene_card(self.scene, self._voices, title=self._name, width=self._console.width))
        self._card_is_out = True

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def close(self) -> None:
        """Print what there is, whole."""
        self._stop()
        self._put_out()
        if self._reply:
            self._console.print(reply_card(self._reply, self.scene, width=self._console.width))


async def show(pipeline: Pipeline, scene: Scene, console: Console) -> Scene:
    """Run one scene and draw it while it forms.

    Raises:
        ScenepipeError: what the failing stage raised; the card shows how far it came.
    """
    card = LiveCard(console, pipeline, scene)
    async with contextlib.aclosing(cast("AsyncGenerator[ev.Event, None]", aiter(pipeline.stream(scene)))) as events:
        try:
            async for event in events:
                card.handle(event)
        finally:
            card.close()
    return card.scene
