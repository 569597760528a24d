"""``scenepipe serve``: a pipeline as a service. ``scenepipe key``: an API key for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

_BOUNDS = "Bounds"
_KEYS = "Who may call"


def serve(
    pipeline: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped pipeline.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others can reach needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", rich_help_panel=_KEYS, help="Hashed API keys; 'scenepipe key' makes them."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", rich_help_panel=_KEYS, help="Web origin that may call from a browser; repeat it."),
    ] = None,
    public_metrics: Annotated[
        bool, typer.Option("--public-metrics", rich_help_panel=_KEYS, help="/metrics answers without a key.")
    ] = False,
    in_flight: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=_BOUNDS, help="Replies made at once; by default four for each slot of the engine."
        ),
    ] = None,
    waiting: Annotated[
        int, typer.Option(min=0, rich_help_panel=_BOUNDS, help="Requests that may wait; then 503.")
    ] = 512,
    queue_s: Annotated[
        float, typer.Option(min=0.01, rich_help_panel=_BOUNDS, help="Seconds one may wait; then 503.")
    ] = 45.0,
    per_key: Annotated[int, typer.Option(min=1, rich_help_panel=_BOUNDS, help="Requests of one key; then 429.")] = 256,
    request_s: Annotated[
        float, typer.Option(min=0.01, rich_help_panel=_BOUNDS, help="Seconds a reply may take.")
    ] = 300.0,
    drain_s: Annotated[
        float, typer.Option(min=0.0, rich_help_panel=_BOUNDS, help="Seconds running replies have after SIGTERM.")
    ] = 20.0,
    body_bytes: Annotated[
        int, typer.Option(min=1024, rich_help_panel=_BOUNDS, help="Of a request's body.")
    ] = 4_194_304,
    most_tokens: Annotated[int, typer.Option(min=1, rich_help_panel=_BOUNDS, help="max_tokens of a request.")] = 4096,
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
        with file.open("a", encoding="utf-8") as keys:
            keys.write(line + "\n")
        file.chmod(0o600)
    write_line(f"key: {made}")


def _need_server() -> None:
    import importlib.util

    from scenepipe.errors import MissingExtraError

    for module in ("starlette", "uvicorn", "httptools", "websockets", "prometheus_client"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("scenepipe serve", module, "server")
