"""Everything an operator may set, checked once when the server starts."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from scenepipe.errors import ConfigError, Fault

MIB = 1024 * 1024
Seconds = Annotated[float, Field(gt=0.0, le=86_400.0)]


class Settings(BaseModel):
    """How a server listens, whom it lets in, and where its bounds are.

    Args:
        host: address to listen on; one that others can reach needs keys.
        port: 0 takes any free one.
        keys: file of hashed API keys, see `scenepipe.server.auth`.
        origins: web origins that may call from a browser; none by default.
        public_metrics: ``/metrics`` answers without a key.
        in_flight: replies that are made at once; None is four times what the engine runs in parallel, so that an engine
            which groups requests by mixture has some to group.
        waiting: requests that may wait for a place, over all chats; one more is answered 503.
        queue_s: seconds that a request waits, at most, before it is answered 503.
        per_key: requests of one API key, waiting or running, at most; one more is answered 429.
        request_s: seconds that one reply may take once it has its place.
        read_s: seconds in which a request has to arrive, its head and its body each.
        stall_s: seconds for which a client may leave its stream unread.
        drain_s: seconds that running replies have to finish after SIGTERM.
        connections: open at once, at most.
        body_bytes: of a request's body, at most.
        head_bytes: of a request's head, at most.
        text_characters: of one message or text, at most.
        most_texts: texts in one request of ``/v1/embeddings``, ``/v1/scenes`` and ``/v1/tokenize``.
        most_choices: ``n`` of one request; as many of its replies are made at once, where it has several prompts, too.
        most_tokens: ``max_tokens`` of one request; more is refused.
        most_turns: earlier turns of a chat that a reply is given, at most; older ones are known to the archive alone.
        messages_s: messages a second that one WebSocket may send, over three seconds.
        unread_bytes: that may wait for one WebSocket, before it is hung up on.
        log_content: log what was said; nothing of it is logged otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    keys: Path | None = None
    origins: tuple[str, ...] = ()
    public_metrics: bool = False
    in_flight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    waiting: Annotated[int, Field(ge=0, le=100_000)] = 512
    queue_s: Seconds = 45.0
    per_key: Annotated[int, Field(ge=1, le=100_000)] = 256
    request_s: Seconds = 300.0
    read_s: Seconds = 15.0
    stall_s: Seconds = 30.0
    drain_s: Annotated[float, Field(ge=0.0, le=3600.0)] = 20.0
    connections: Annotated[int, Field(ge=1)] = 4096
    body_bytes: Annotated[int, Field(ge=1024)] = 4 * MIB
    head_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024
    text_characters: Annotated[int, Field(ge=1)] = 200_000
    most_texts: Annotated[int, Field(ge=1)] = 2048
    most_choices: Annotated[int, Field(ge=1, le=128)] = 8
    most_tokens: Annotated[int, Field(ge=1)] = 4096
    most_turns: Annotated[int, Field(ge=0)] = 50
    messages_s: Annotated[float, Field(gt=0.0, le=100_000.0)] = 20.0
    unread_bytes: Annotated[int, Field(ge=1024)] = 4 * MIB
    log_content: bool = False


def is_local(host: str) -> bool:
    """Whether nobody outside of this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open_bind(settings: Settings, *, keys: int) -> None:
    """Refuse an address that others can reach while there is no key.

    Raises:
        ConfigError: such an address, and no key.
    """
    if not keys and not is_local(settings.host):
        raise ConfigError(
            [
                Fault(
                    "host",
                    f"{settings.host} can be reached from other machines, and there is no API key; make one with "
                    "'scenepipe key NAME --file keys.txt' and give '--keys keys.txt', or listen on 127.0.0.1",
                )
            ],
            "serve",
        )
