"""A reply as it grows from a server's events: its chunks, its end, and what it must keep to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scenepipe.backends.drawn_tokens import DrawnTokens
from scenepipe.backends.json_text import begins_json, is_json
from scenepipe.backends.openai_errors import ServerError
from scenepipe.backends.openai_wire import Call, Delta
from scenepipe.backends.stops import StopText
from scenepipe.contracts import Chunk, Finish
from scenepipe.errors import BackendError, DeadlineError
from scenepipe.scene import Usage


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
        self._finish: Finish | None = None
        self._calls = False
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
        self._calls |= bool(delta.calls)
        if not (text or delta.reasoning or delta.calls):
            return None
        return Chunk(text=text, reasoning=delta.reasoning, logprobs=self._drawn.said(text), tool_calls=delta.calls)

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
        if self._finish != "length":  # of a call that was asked for by name, OpenAI says "stop"
            self._finish = "tool_calls" if self._calls else "stop"
        rest = self._watch.rest()
        self.text += rest
        if self._json and self._finish == "stop" and not is_json(self.text):
            raise self._no_schema()
        return Chunk(text=rest, logprobs=self._drawn.said(rest), finish_reason=self._finish, usage=usage)

    def _check_start(self) -> None:
        if self._json and not begins_json(self.text):
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
