"""``scenepipe serve``: a pipeline as a service. ``scenepipe key``: an API key for it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import typer


def _bound(text: str, **options: Any) -> Any:
    return typer.Option(rich_help_panel="Bounds", help=text, **options)


def _access(*names: str, text: str, **options: Any) -> Any:
    return typer.Option(*names, rich_help_panel="Who may call", help=text, **options)


_Keys = Annotated[Path | None, _access(metavar="FILE", text="Hashed API keys; 'scenepipe key' makes them.")]
_Origins = Annotated[
    list[str] | None, _access(metavar="URL", text="Web origin that may call from a browser; repeat it.")
]
_InFlight = Annotated[int | None, _bound("Replies made at once; by default four for each slot of the engine.", min=1)]


def serve(
    pipeline: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped pipeline.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others can reach needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 8000,
    keys: _Keys = None,
    origin: _Origins = None,
    public_metrics: Annotated[bool, _access("--public-metrics", text="/metrics answers without a key.")] = False,
    in_flight: _InFlight = None,
    waiting: Annotated[int, _bound("Requests that may wait; then 503.", min=0)] = 512,
    queue_s: Annotated[float, _bound("Seconds one may wait; then 503.", min=0.01)] = 45.0,
    per_key: Annotated[int, _bound("Requests of one key; then 429.", min=1)] = 256,
    request_s: Annotated[float, _bound("Seconds a reply may take.", min=0.01)] = 300.0,
    drain_s: Annotated[float, _bound("Seconds running replies have after SIGTERM.", min=0.0)] = 20.0,
    body_bytes: Annotated[int, _bound("Of a request's body.", min=1024)] = 4_194_304,
    most_tokens: Annotated[int, _bound("max_tokens of a request.", min=1)] = 4096,
    log_content: Annotated[bool, typer.Option("--log-content", help="Log what was said, too.")] = False,
) -> None:
    """Serve a pipeline to any client of the OpenAI API, until SIGTERM or Ctrl-C."""
    from scenepipe.cli.opening import open_pipeline

    _need_server()
    from scenepipe.server.logs import to_stream
    from scenepipe.server.running import serve as run
    from scenepipe.server.settings import Settings

    settings = Settings(
        host=host,
        port=port,
        keys=keys,
        origins=tuple(origin or ()),
        public_metrics=public_metrics,
        in_flight=in_flight,
        waiting=waiting,
        queue_s=queue_s,
        per_key=per_key,
        request_s=request_s,
        drain_s=drain_s,
        body_bytes=body_bytes,
        most_tokens=most_tokens,
        log_content=log_content,
    )
    pipe = open_pipeline(pipeline)
    to_stream()
    asyncio.run(run(pipe, settings))


def key(
    name: Annotated[str, typer.Argument(help="Whose key it is; stands in the log.")],
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="Add its line to this file of keys.")] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose memory it sees; its own by default.")
    ] = None,
) -> None:
    """Make an API key. It is shown once; a server keeps its hash alone."""
    from scenepipe.cli.console import write_line
    from scenepipe.server.auth import key_line, new_key

    made = new_key()
    line = key_line(name, made, namespace)
    if file is None:
        write_line(f"line: {line}")
    else:
        _append(file, line)
    write_line(f"key: {made}")


def _append(file: Path, line: str) -> None:
    """Add a line to a file, which nobody else can read if it is new; the mode of one that is there is its owner's choice."""
    with open(file, "a+", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as keys:
        keys.seek(0)
        before = keys.read()
        keys.write(("\n" if before and not before.endswith("\n") else "") + line + "\n")


def _need_server() -> None:
    from scenepipe.errors import MissingExtraError
    from scenepipe.registry import installed

    for module in ("starlette", "uvicorn", "httptools", "websockets", "prometheus_client"):
        if not installed(module):
            raise MissingExtraError("scenepipe serve", module, "server")
