"""``scenepipe doctor``: what is installed, what loads, where things are kept."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from scenepipe.cli.guard import FAILED

PACKAGES = (
    "scenepipe", "pydantic", "numpy", "sqlalchemy", "sentencepiece", "typer", "rich", "safetensors", "gguf",
    "xllamacpp", "transformers", "peft", "torch", "vllm", "qdrant-client",
)  # fmt: skip
NEEDED_BYTES = 2**30
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)[^;]*;.*\bextra\s*==\s*[\"']([\w-]+)[\"']")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Report on this installation; exit code 1 where something that is needed is broken."""
    from scenepipe.cli.console import print_json

    found = examine()
    if as_json:
        print_json(found)
    else:
        _show(found)
    if found["broken"]:
        raise typer.Exit(FAILED)


def examine() -> dict[str, Any]:
    """Everything the doctor looks at, as JSON values; ``broken`` lists what must be mended."""
    from scenepipe.cli.model import models

    found: dict[str, Any] = {
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": extras(),
        "names": list(_names()),
        "models": models(),
        "cache": _cache(),
        "sqlite": _sqlite(),
    }
    found["broken"] = list(_broken(found))
    return found


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def extras() -> dict[str, dict[str, Any]]:
    """Per extra: whether it is installed, what lacks, and the pip command that installs it."""
    from importlib import metadata

    needs: dict[str, list[str]] = {}
    for requirement in metadata.requires("scenepipe") or ():
        found = _REQUIREMENT.match(requirement)
        if found and found[1] != "scenepipe":
            needs.setdefault(found[2], []).append(found[1])
    return {extra: _extra(extra, packages) for extra, packages in sorted(needs.items())}


def _extra(extra: str, packages: list[str]) -> dict[str, Any]:
    lacks = [package for package in packages if _version(package) is None]
    return {"installed": not lacks, "lacks": lacks, "pip": f'pip install "scenepipe[{extra}]"'}


def _names() -> Iterator[dict[str, Any]]:
    from scenepipe.registry import KINDS, default_registry

    registry = default_registry()
    for kind in KINDS:
        for entry in registry.entries(kind, probe=True):
            lacks = [] if entry.fault else registry.missing_messages(kind, entry.name)
            facts = {"kind": kind, "name": entry.name, "origin": entry.origin}
            yield {**facts, "loads": entry.fault is None, "fault": entry.fault, "lacks": lacks}


def _cache() -> dict[str, Any]:
    import shutil

    from scenepipe.models.fetch import cache_dir

    folder = cache_dir()
    sizes = {part.name: _size(part) for part in sorted(folder.iterdir())} if folder.is_dir() else {}
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    return {"path": str(folder), "bytes": sizes, "free_bytes": shutil.disk_usage(there).free}


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def _sqlite() -> dict[str, str]:
    import sqlite3

    from scenepipe.memory.sqlite_schema import journal_mode

    mode = journal_mode(sqlite3.sqlite_version_info)
    why = "this SQLite has the WAL-reset bug, so archives avoid WAL; 3.51.3 or newer is faster"
    return {"version": sqlite3.sqlite_version, "journal_mode": mode, "advice": "" if mode == "WAL" else why}


def _broken(found: dict[str, Any]) -> Iterator[str]:
    own = (name for name in found["names"] if name["origin"] == "scenepipe")  # a quarantined plug-in disturbs nobody
    yield from (f"{name['kind']} '{name['name']}': {name['fault']}" for name in own if not name["loads"])
    yield from (f"model '{model['id']}': {model['fault']}" for model in found["models"] if model["fault"])
    if found["cache"]["free_bytes"] < NEEDED_BYTES:
        yield f"{found['cache']['path']}: {found['cache']['free_bytes'] / 1e6:.0f} MB are free; a model needs up to 1 GB"


def _show(found: dict[str, Any]) -> None:
    from scenepipe.cli.console import stdout

    console = stdout()

    def line(mark: str, name: str, rest: str) -> None:
        console.print(f"{mark} {name:<24} {rest}".rstrip(), soft_wrap=True, style=_STYLES[mark])

    line("✓", "Python", f"{found['python']['version']}  {found['platform']}")
    for name, version in found["packages"].items():
        if version:
            line("✓", name, version)
    for extra, state in found["extras"].items():
        line("✓" if state["installed"] else "·", f"extra [{extra}]", "" if state["installed"] else state["pip"])
    for name in found["names"]:
        mark = "✗" if not name["loads"] else "·" if name["lacks"] else "✓"
        line(mark, f"{name['kind']} {name['name']}", name["fault"] or "; ".join(name["lacks"]) or name["origin"])
    for model in found["models"]:
        state = model["fault"] or (f"verified, {model['path']}" if model["path"] else "not on this disk")
        line("✗" if model["fault"] else "✓" if model["path"] else "·", f"model {model['id']}", state)
    cache = found["cache"]
    line(
        "✓",
        "cache",
        f"{cache['path']}, {sum(cache['bytes'].values()) / 1e6:.0f} MB, {cache['free_bytes'] / 1e9:.1f} GB free",
    )
    sqlite = found["sqlite"]
    line(
        "·" if sqlite["advice"] else "✓",
        "SQLite",
        f"{sqlite['version']}, {sqlite['journal_mode']}; {sqlite['advice']}".rstrip("; "),
    )
    for fault in found["broken"]:
        line("✗", "broken", fault)


_STYLES = {"✓": "", "·": "dim", "✗": "bold red"}
