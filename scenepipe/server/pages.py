"""The studio: static files, served to anybody who reaches the server; what they show is asked for with the visitor's own key.

No template, no build step, nothing from elsewhere. The policy lets the page run only the scripts of this folder, talk only to
this server, and turn no string into markup (trusted types), so a model's reply cannot become a script.
"""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "studio"
FILES = tuple(
    sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js", ".json", ".svg"))
)
PREFIX = "/studio/"
STUDIO = frozenset({"/", *(PREFIX + name for name in FILES if name != "index.html")})
"""Paths of the page, which answer without a key."""
POLICY = "; ".join([
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob:",  # drawings arrive as text, with the key; as pictures they can run nothing
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
])  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def studio_routes() -> list[Route]:
    """One route for each file: no path of a request ever names a file."""
    return [Route(path, _file, methods=["GET"]) for path in sorted(STUDIO)]


async def _file(request: HttpRequest) -> Response:
    path = request.url.path
    file = FOLDER / ("index.html" if path == "/" else path.removeprefix(PREFIX))
    return Response(file.read_bytes(), media_type=_TYPES[file.suffix], headers=HEADERS)
