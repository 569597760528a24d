"""A reply as it grows from a server's events: its chunks, its end, and what it must keep to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from scenepipe.backends.drawn_tokens import DrawnTokens
from scenepipe.backends.openai_errors import ServerError
from scenepipe.backends.openai_wire import Call, Delta
from scenepipe.backends.stops import StopText
from scenepipe.contracts import Chunk
from scenepipe.errors import BackendError, DeadlineError
from scenepipe.scene import Usage

_JSON_STARTS = frozenset('{["-0123456789tfn')


class ReplyText:
    """Chunks of one reply. The last one is made by `finished`.

    ``stopped``: a stop string that the server was not given, or leaves in the text, has ended it. ``pieces`` is how many
    events had text.
    """

    def __init__(self, call: Call, place: str) -> None:
        endpoint, stop = call.endpoint, call.request.stop
        watched = endpoint.leaves_stop or (endpoint.stops is not None and len(stop) > endpoint.stops)
        self._watch = StopText(stop if watched else ())
        self._json = call.request.json_schema is not None
        self._place = place
        self._drawn = DrawnTokens()
        self._finish: Literal["stop", "length"] | None = None
        self.text = ""
        self.pieces = 0
        self.prompt_tokens: int | None = None
        self.reply_tokens: int | None = None

    @property
    def stopped(self) -> bool:
        return self._watch.stopped

    def add(self, delta: Delta) -> Chunk | None:
        """What may be said of an event; None when nothing is to be said."""
        self._finish = delta.finish or self._finish
        self.prompt_tokens = delta.prompt_tokens or self.prompt_tokens
        self.reply_tokens = delta.reply_tokens or self.reply_tokens
        self.pieces += bool(delta.text)
        text = self._watch.add(delta.text)
        self.text += text
        self._check_start()
        for token in delta.logprobs:
            self._drawn.add(token)
        if not (text or delta.reasoning):
            return None
        return Chunk(text=text, reasoning=delta.reasoning, logprobs=self._drawn.said(text))

    def finished(self, usage: Usage) -> Chunk:
        """The last chunk.

        Raises:
            BackendError: the stream ended before the reply did, or it is not the JSON that was asked for.
        """
        if self.stopped:
            self._finish = "stop"
        if self._finish is None:
            raise BackendError(
                f"{self._place}: it broke the reply off in the middle, after {len(self.text)} characters; look into its log"
            )
        rest = self._watch.rest()
        self.text += rest
        if self._json and self._finish == "stop" and not _is_json(self.text):
            raise self._no_schema()
        return Chunk(text=rest, logprobs=self._drawn.said(rest), finish_reason=self._finish, usage=usage)

    def _check_start(self) -> None:
        begun = self.text.lstrip()
        if self._json and begun and begun[0] not in _JSON_STARTS:
            raise self._no_schema()

    def _no_schema(self) -> BackendError:
        return BackendError(
            f"{self._place}: it did not keep to the JSON Schema, the reply begins {self.text.lstrip()[:40]!r}; simplify the "
            "schema, or compare 'flavour' with the server"
        )


@contextmanager
def understood(told: str) -> Iterator[None]:
    """Reading an event: what goes wrong names server and request.

    Raises:
        BackendError: the event says so, or is not of its kind.
    """
    try:
        yield
    except (ServerError, DeadlineError):
        raise
    except BackendError as error:
        raise BackendError(f"{told}: {error}") from None
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        words = f"{type(error).__name__}: {error}"
        raise BackendError(f"{told}: an event is not of its kind ({words}); is 'flavour' right?") from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
