"""A Redis server as an archive sees it: how it is reached, what its errors mean, what its settings put at risk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from scenepipe.errors import ArchiveError

if TYPE_CHECKING:
    from redis import Redis

_SCHEMES = ("redis", "rediss", "unix")
_GIVE = "give redis://host:6379/0, rediss:// for TLS, or unix:///path"
_POLL = 0.02

_SETTINGS = ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")
_MEANINGS = {
    "AuthenticationError": "the server wants another user or password; give 'password', and the user in 'url'",
    "AuthenticationWrongNumberOfArgsError": "the server wants a user with its password; give the user in 'url'",
    "NoPermissionError": "the user may not do this; it needs the stream, hash, scripting and transaction commands",
    "ReadOnlyError": "this server is a read-only replica; give the URL of its master",
    "BusyLoadingError": "the server is reading its files; try again in a moment",
    "OutOfMemoryError": "the server's memory is full; nothing of this write was acknowledged. Raise its maxmemory",
}


def name_of(url: str, prefix: str) -> str:
    """How messages call an archive: its URL without the password and the options.

    Raises:
        ArchiveError: it is no URL of a Redis server.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # which quotes what stands before the host
        raise ArchiveError(f"'url' of the archive is no URL; {_GIVE}") from None
    if parts.scheme not in _SCHEMES:
        raise ArchiveError(f"'url' of the archive begins with '{parts.scheme}'; {_GIVE}")
    user = f"{parts.username}@" if parts.username else ""
    return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{parts.path} ({prefix})"


def connect(url: str, password: SecretStr | None, timeout: int) -> Redis:
    """A client with one connection, which is made at its first command and again when it was lost.

    Raises:
        ArchiveError: the URL has options that the client does not know.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as LostError
    from redis.retry import Retry

    try:
        client = Redis.from_url(url, protocol=2)  # which Redis 5 speaks, too
    except (ValueError, TypeError):  # whose words may hold a part of the password
        raise ArchiveError(f"'url' of the archive has a part that cannot be read; {_GIVE}") from None
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 1, supported_errors=(LostError,)),
        "decode_responses": False,
    }
    if password is not None:
        options["password"] = password.get_secret_value()
    # Not as arguments: what stands in the URL would come before them.
    client.connection_pool.connection_kwargs.update(options)
    return client


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turns the client's errors into `ArchiveError`.

    Raises:
        ArchiveError: names the archive, what happened and what to do.
    """
    from redis.exceptions import ConnectionError as LostError
    from redis.exceptions import RedisError
    from redis.exceptions import TimeoutError as LateError

    try:
        yield
    except RedisError as error:
        known = _MEANINGS.get(type(error).__name__)
        if known is None and isinstance(error, LostError | LateError):
            known = "the server cannot be reached or does not answer; start it, or correct 'url'"
        raise ArchiveError(f"archive {name}: {known or 'the server refused'}: {error}") from error


def is_outage(error: BaseException | None) -> bool:
    """Whether a client's error has nothing to do with what was written."""
    from redis.exceptions import ConnectionError as LostError
    from redis.exceptions import OutOfMemoryError, ReadOnlyError
    from redis.exceptions import TimeoutError as LateError

    return isinstance(error, LostError | LateError | ReadOnlyError | OutOfMemoryError)


# --- Settings --------------------------------------------------------------------------------------------------------


def settings(client: Redis) -> dict[str, str]:
    """What the server says of its settings; empty where they are not told."""
    from redis.exceptions import ResponseError

    found: dict[str, str] = {}
    try:
        for name in _SETTINGS:
            found |= {str(key): str(value) for key, value in client.config_get(name).items()}
    except ResponseError:
        return {}
    return found


def risks(given: dict[str, str]) -> list[str]:
    """What may be lost with these settings, and what to set."""
    found = []
    if given.get("appendonly") == "no":
        found.append("what was acknowledged is lost when the server ends; set appendonly yes and appendfsync always")
    elif given.get("appendfsync", "always") != "always":
        found.append("the last second may be lost when the machine fails; set appendfsync always")
    if given.get("maxmemory", "0") != "0" and given.get("maxmemory-policy", "").startswith("allkeys"):
        found.append("the server drops keys when its memory is full; set maxmemory-policy noeviction")
    return found


# --- Files -----------------------------------------------------------------------------------------------------------


def rewrite(client: Redis, patience: float) -> None:
    """Have the server write its files anew, without what was removed; they are there when this returns.

    Raises:
        ArchiveError: it may not be asked, failed, or took longer than ``patience`` seconds.
    """
    given, end = settings(client), time.monotonic() + patience
    if not given:
        raise ArchiveError("the server does not tell which files it writes")
    if given["appendonly"] == "yes":
        _done(client, client.bgrewriteaof, ("aof_rewrite_scheduled", "aof_rewrite_in_progress"), end)
        _succeeded(client, "aof_last_bgrewrite_status")
    if given["save"]:
        _done(client, client.bgsave, ("rdb_bgsave_in_progress",), end)
        _succeeded(client, "rdb_last_bgsave_status")


def _done(client: Redis, begin: Callable[[], Any], busy: tuple[str, ...], end: float) -> None:
    """Begin as soon as the server is free to, and wait until it has ended."""
    from redis.exceptions import ResponseError

    while True:
        try:
            begin()
            break
        except ResponseError as error:  # one that began before the removal is still running
            if "in progress" not in str(error) or time.monotonic() > end:
                raise ArchiveError(str(error)) from error
        time.sleep(_POLL)
    while any(client.info("persistence")[name] for name in busy):
        if time.monotonic() > end:
            raise ArchiveError("the server is still writing them")
        time.sleep(_POLL)


def _succeeded(client: Redis, status: str) -> None:
    found = client.info("persistence")[status]
    if found != "ok":
        raise ArchiveError(f"{status} is {found}")
