"""Which web pages may call. A browser lets any page send simple requests and open WebSockets, and only then asks whose it is.

Whoever has to show a key is not reached this way: no page knows it. So without keys every request is looked at, with keys
the handshakes of WebSockets alone, since those a browser never asks about.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import Scope

from scenepipe.server.problem import ApiError
from scenepipe.server.settings import Settings, is_local

_NO_DOMAIN = (".localhost", ".local", ".internal")
"""Ends of names that nobody can register."""


def refuse_strangers(scope: Scope, settings: Settings, *, keyed: bool) -> None:
    """Refuse a request that a page of somebody else sends.

    Raises:
        ApiError: 403, for its ``Origin`` or its ``Host``.
    """
    if keyed and scope["type"] == "http":
        return
    connection = HTTPConnection(scope)
    origin, host = connection.headers.get("origin"), connection.headers.get("host", "")
    if not keyed and not _is_here(host, settings):
        message = (
            f"a server without keys does not answer to {host[:80]!r}; give it keys, or name that page with --origin"
        )
        raise ApiError(403, message, code="host_refused")
    if not _may(origin, host, settings, keyed=keyed):
        message = f"pages of {str(origin)[:80]!r} may not call; name them with --origin"
        raise ApiError(403, message, code="origin_refused")


def _may(origin: str | None, host: str, settings: Settings, *, keyed: bool) -> bool:
    """Its own page, those of ``origins``, and programs that are no browsers, which send none."""
    if origin is None or origin in settings.origins or "*" in settings.origins:
        return True
    try:
        given = urlsplit(origin)
        return given.netloc == host and (keyed or is_local(given.hostname or ""))
    except ValueError:
        return False


def _is_here(host: str, settings: Settings) -> bool:
    """Whether no page can have lent its name to this machine (DNS rebinding): an address, or a name that cannot be bought."""
    if not host or "*" in settings.origins:
        return True
    try:
        name = urlsplit(f"//{host}").hostname or ""
        named = {urlsplit(origin).netloc for origin in settings.origins}
    except ValueError:
        return False
    return host in named or "." not in name.strip(".") or name.endswith(_NO_DOMAIN) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
