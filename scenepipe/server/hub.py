"""Who listens to which runs: events go from the one task that makes a reply to every socket that wants them."""

from __future__ import annotations

from typing import Protocol

from scenepipe.events import Event
from scenepipe.scene import Origin

Topic = tuple[str, str, str]


def run_topic(namespace: str, run: str) -> Topic:
    """The events of one run."""
    return ("run", namespace, run)


def chat_topic(namespace: str, chat: str) -> Topic:
    """The events of a chat, whoever speaks in it. The namespace is part of it, so nobody hears another's."""
    return ("chat", namespace, chat)


class Listener(Protocol):
    """Takes events at once, and never waits: what it cannot pass on it has to drop."""

    def hear(self, origin: Origin, event: str) -> None:
        """One event, as JSON."""


class Hub:
    """Topics and their listeners. Without a listener a run costs two look-ups."""

    def __init__(self) -> None:
        self._listeners: dict[Topic, set[Listener]] = {}

    def join(self, topic: Topic, listener: Listener) -> None:
        """Hear a topic from its next run on."""
        self._listeners.setdefault(topic, set()).add(listener)

    def leave(self, topic: Topic, listener: Listener) -> None:
        """Hear it no longer."""
        found = self._listeners.get(topic, set())
        found.discard(listener)
        if not found:
            self._listeners.pop(topic, None)

    def listened(self, origin: Origin) -> bool:
        """Whether anybody hears runs of this origin."""
        return any(topic in self._listeners for topic in _topics(origin))

    def publish(self, origin: Origin, event: Event) -> None:
        """Tell all who listen, each once."""
        found = [self._listeners[topic] for topic in _topics(origin) if topic in self._listeners]
        if found:
            told = event.model_dump_json()
            for listener in set().union(*found):
                listener.hear(origin, told)


def _topics(origin: Origin) -> list[Topic]:
    found = [run_topic(origin.namespace, origin.run)]
    return found if origin.chat is None else [*found, chat_topic(origin.namespace, origin.chat)]
