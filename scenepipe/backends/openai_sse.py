"""The events of a streamed answer, from its bytes: server-sent events, or one JSON value a line.

Server-sent events as in https://html.spec.whatwg.org/multipage/server-sent-events.html: lines end with LF, CRLF or CR,
comments keep a connection alive, and an event ends with an empty line or with the stream. Lines are split as bytes and
decoded whole, so a character cut by a packet is never lost, and U+2028 inside of JSON ends nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

LONGEST_LINE = 32 << 20
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ServerEvent:
    """One event: its name (``message`` when it has none) and its data."""

    name: str
    data: str


class Decoder(Protocol):
    """Bytes in, whole events out."""

    def feed(self, data: bytes) -> list[ServerEvent]: ...

    def end(self) -> list[ServerEvent]: ...


class _Lines:
    """Whole lines of a byte stream, decoded.

    Raises:
        ValueError: a line is not UTF-8, or longer than `LONGEST_LINE`.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._first = True

    def feed(self, data: bytes) -> list[str]:
        whole = self._rest + data
        held = whole.endswith(b"\r")  # its LF may be in the next packet
        *lines, rest = _LINE_END.split(whole[:-1] if held else whole)
        self._rest = rest + b"\r" if held else rest
        if len(self._rest) > LONGEST_LINE:
            raise ValueError(f"a line has more than {LONGEST_LINE} bytes")
        return [self._decoded(line) for line in lines]

    def end(self) -> list[str]:
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        return [self._decoded(rest)] if rest else []

    def _decoded(self, line: bytes) -> str:
        if self._first:
            line = line.removeprefix(_BOM)
            self._first = False
        return line.decode("utf-8")


class SseDecoder:
    """Server-sent events. The last one counts even when the stream ends without the empty line after it.

    llama.cpp has written errors as a field ``error:``; such a line is an event named ``error``.
    """

    def __init__(self) -> None:
        self._lines = _Lines()
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[ServerEvent]:
        return [event for line in self._lines.feed(data) if (event := self._line(line))]

    def end(self) -> list[ServerEvent]:
        found = [event for line in self._lines.end() if (event := self._line(line))]
        last = self._dispatched()
        return [*found, last] if last else found

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatched()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "error":
            return ServerEvent("error", value)
        return None

    def _dispatched(self) -> ServerEvent | None:
        name, data = self._name or "message", "\n".join(self._data)
        self._name, self._data = "", []
        return ServerEvent(name, data) if data.strip() else None


class JsonLines:
    """One JSON value a line (``application/x-ndjson``)."""

    def __init__(self) -> None:
        self._lines = _Lines()

    def feed(self, data: bytes) -> list[ServerEvent]:
        return [ServerEvent("message", line) for line in self._lines.feed(data) if line.strip()]

    def end(self) -> list[ServerEvent]:
        return [ServerEvent("message", line) for line in self._lines.end() if line.strip()]
