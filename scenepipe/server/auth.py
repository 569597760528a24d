"""API keys: who may call. Every route is guarded unless it is listed here.

A keys file has a line for each key: its name, the SHA-256 of the key, and a namespace of the archive where it differs from
the name. Chats, scenes and memory of one namespace are never seen from another::

    anna 5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5
    bot  0b14d501a594442a01c6859541bcb3e8164d183d32937b851835442f69d5c94e  anna

Whoever has the file cannot call with it: keys are 256 random bits, of which no hash leads back.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from scenepipe.errors import ConfigError, Fault
from scenepipe.server.origins import refuse_strangers
from scenepipe.server.problem import ApiError
from scenepipe.server.settings import Settings

PUBLIC = frozenset({"/health", "/ready"})
"""Paths that answer without a key."""
FIRST_MESSAGE = frozenset({"/v1/bridge"})
"""WebSockets that take their key as the first message, too: browsers can send no header with a handshake."""
KEY_PROTOCOL = "scenepipe-key."
"""What a subprotocol begins with that is a key."""
PREFIX = "sp-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Caller:
    """Whose request it is: the key's name, and the namespace of the archive that it sees."""

    name: str
    namespace: str


ANYONE = Caller("anyone", "default")
"""Whoever calls a server without keys."""


class Keys:
    """The keys of a server, as hashes."""

    def __init__(self, callers: Mapping[bytes, Caller]) -> None:
        self._callers = tuple(callers.items())

    def __len__(self) -> int:
        return len(self._callers)

    def of(self, key: str) -> Caller | None:
        """Whose key it is. Takes as long for any key, right or wrong: every hash is compared whole."""
        given = digest(key)
        found = None
        for known, caller in self._callers:
            if secrets.compare_digest(given, known):
                found = caller
        return found


def digest(key: str) -> bytes:
    """SHA-256 of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def new_key() -> str:
    """256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def key_line(name: str, key: str, namespace: str | None = None) -> str:
    """The line of a keys file.

    Raises:
        ConfigError: a name that cannot stand there.
    """
    for each in (name, namespace or name):
        if not _NAME.fullmatch(each):
            fault = Fault("name", f"{each!r} was given; possible: letters, digits and . _ @ -, at most 64")
            raise ConfigError([fault], "key")
    return " ".join([name, digest(key).hex(), *([namespace] if namespace else [])])


def read_keys(path: Path) -> Keys:
    """The keys of a file.

    Raises:
        ConfigError: the file cannot be read, or a line is no key; all faults at once. No line is repeated in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Fault("keys", f"{path} cannot be read: {error}")], "serve") from None
    return parse_keys(lines, str(path))


def parse_keys(lines: Iterable[str], source: str) -> Keys:
    """The keys of these lines; blank ones and those that begin with # are passed over."""
    callers: dict[bytes, Caller] = {}
    faults: list[Fault] = []
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts or line.lstrip().startswith("#"):
            continue
        names = (parts[0], *parts[2:])
        if len(parts) not in (2, 3) or not _HASH.fullmatch(parts[1]) or not all(map(_NAME.fullmatch, names)):
            faults.append(Fault("", "a line is NAME SHA256 [NAMESPACE]; 'scenepipe key' makes one", number, 1))
        elif bytes.fromhex(parts[1]) in callers:
            faults.append(Fault("", f"the key of '{parts[0]}' stands twice; give each its own", number, 1))
        else:
            callers[bytes.fromhex(parts[1])] = Caller(parts[0], names[-1])
    if faults:
        raise ConfigError(faults, source)
    return Keys(callers)


class Guard:
    """ASGI middleware: asks for a key everywhere but on the public paths, before anything else is looked at. Pages of
    strangers are refused first, see `scenepipe.server.origins`.

    ``Authorization: Bearer KEY``, the scheme in any case, and ``x-api-key: KEY`` go through the same check; two keys in one
    request are refused. WebSockets are guarded the same; their key may be a subprotocol as well, ``scenepipe-key.KEY``.
    """

    def __init__(self, app: ASGIApp, keys: Keys, settings: Settings, public: frozenset[str] = PUBLIC) -> None:
        self.app = app
        self.keys = keys
        self.settings = settings
        self.public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        caller = self._caller(scope)
        if scope["type"] == "websocket":
            await self._websocket(caller, scope, receive, send)
            return
        refuse_strangers(scope, self.settings, keyed=bool(len(self.keys)))
        if caller is None:
            raise ApiError(
                401,
                "no valid API key was given; send 'Authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        scope.setdefault("state", {})["caller"] = caller
        await self.app(scope, receive, send)

    async def _websocket(self, caller: Caller | None, scope: Scope, receive: Receive, send: Send) -> None:
        """A caller of None is passed on where the first message may be the key, and nothing was given before it."""
        silent = not any(True for _ in _keys_given(scope))
        try:
            refuse_strangers(scope, self.settings, keyed=bool(len(self.keys)))
            if caller is None and not (silent and scope["path"] in FIRST_MESSAGE):
                raise ApiError(401, "no valid API key")
        except ApiError as error:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": error.message})
            return
        scope.setdefault("state", {}).update(caller=caller, keys=self.keys)
        await self.app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller | None:
        if not len(self.keys):
            return ANYONE
        if scope["path"] in self.public and scope.get("method") in ("GET", "HEAD"):
            return ANYONE
        given = _given(scope)
        return self.keys.of(given) if given else None


def _given(scope: Scope) -> str | None:
    """The one key of a request; None for none, or for several."""
    found = list(_keys_given(scope))
    return found[0] if len(found) == 1 else None


def _keys_given(scope: Scope) -> Iterator[str]:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.decode("latin-1").strip().partition(" ")
            yield key.strip() if scheme.lower() == "bearer" else ""
        elif name == b"x-api-key":
            yield value.decode("latin-1").strip()
    for protocol in scope.get("subprotocols", ()):
        if protocol.startswith(KEY_PROTOCOL):
            yield protocol.removeprefix(KEY_PROTOCOL)
