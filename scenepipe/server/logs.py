"""What a server logs: one JSON object a line, and nothing that anybody said unless the operator asks for it."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic_core import to_json

LOG = logging.getLogger("scenepipe.server")


class JsonLines(logging.Formatter):
    """A record as one line of JSON; what is in ``extra={"fields": …}`` stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; line ends inside of values are escaped, so that no value can make one up."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        line["message"] = record.getMessage()
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return to_json(line, fallback=str).decode("utf-8", "replace")


def to_stream(stream: TextIO | None = None) -> None:
    """Send everything that scenepipe and uvicorn log to a stream, standard error for None."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("scenepipe", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def request_done(fields: dict[str, Any]) -> None:
    """One request is over."""
    LOG.info("request", extra={"fields": fields})
