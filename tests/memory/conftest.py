"""What the tests of the stores share: a private PostgreSQL server, and a process that is killed while it writes."""

from __future__ import annotations

import asyncio
import glob
import importlib.util
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scenepipe.contracts import Archive
from scenepipe.registry import default_registry
from scenepipe.scene import Scene

DEBIAN = "/usr/lib/postgresql/*/bin"


def postgres_binaries() -> Path | None:
    """The folder of ``initdb`` and ``postgres``; Debian keeps it out of the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += [Path(folder) for folder in sorted(glob.glob(DEBIAN), reverse=True)]
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def unprivileged() -> dict[str, int]:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid}


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of this test run's own, on a free port of the loopback, in a folder that goes with it."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL binaries here: apt-get install postgresql")
    who = unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="scenepipe-postgres-"))  # tmp_path is closed to other users
    try:
        if who:
            os.chown(folder, who["user"], who["group"])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        make = [binaries / "initdb", "-D", folder / "data", "-U", "scenepipe", "--auth=trust", "--encoding=UTF8"]
        subprocess.run([*make, "--locale=C", "--no-sync"], check=True, capture_output=True, cwd=folder, **who)
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
        control = [binaries / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", options]
        subprocess.run([*control, "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)
        try:
            yield f"postgresql://scenepipe@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=folder, **who)
    finally:
        shutil.rmtree(folder)


# --- kill -9 ---------------------------------------------------------------------------------------------------------

SOAK = int(os.environ.get("SCENEPIPE_SOAK", "20"))
"""Rounds of each kill -9 test; ``make soak`` runs 200."""

# One process is started; it forks a victim per round, so that the imports are paid once.
_KILLED = """
import asyncio, os, sys
from {module} import {name}
from scenepipe.testing.archive_suite import encounter_of, scene_of

async def victim(path, round):
    archive = {name}(path=path)
    await archive.open()
    shared = scene_of("общая сцена", ["шаг"])
    async def one(n):
        scene = scene_of(f"раунд {{round}}, текст {{n}}", ["шаг"], vector=[1, 2 + n % 7])
        name = f"{{round}}-{{n}}"
        await archive.append([scene, shared], [encounter_of(scene, name), encounter_of(shared, "shared")])
        os.write(1, (name + "\\n").encode())
    for start in range(0, 100_000, 4):
        await asyncio.gather(*(one(n) for n in range(start, start + 4)))

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.write(1, f"pid {{os.getpid()}}\\n".encode())
        asyncio.run(victim(sys.argv[1], line.strip()))
    os.waitpid(pid, 0)
    os.write(1, b"killed\\n")
"""


@pytest.fixture
def kill_9() -> Callable[[type[Archive], Path], None]:
    """Kills a process that writes again and again: no acknowledged encounter is lost, none doubled, none half there.

    Some rounds die before the first acknowledgement, while the archive is opened or made; the others after up to
    eight, at a random moment after the last of them.
    """

    def run(archive: type[Archive], path: Path) -> None:
        source = _KILLED.format(module=archive.__module__, name=archive.__name__)
        chance, acknowledged = random.Random(7), []
        with subprocess.Popen(
            [sys.executable, "-c", source, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as forker:
            assert forker.stdin is not None
            assert forker.stdout is not None
            for number in range(SOAK):
                print(number, file=forker.stdin, flush=True)
                pid = int(forker.stdout.readline().split()[1])
                lines = [forker.stdout.readline() for _ in range(max(0, chance.randrange(-3, 9)))]
                time.sleep(chance.random() * 0.2)
                os.kill(pid, signal.SIGKILL)
                lines += iter(forker.stdout.readline, "killed\n")
                acknowledged += [line.strip() for line in lines]
            forker.stdin.close()
        assert forker.returncode == 0
        assert len(acknowledged) > SOAK
        asyncio.run(_check(archive(path=str(path)), acknowledged))

    return run


async def _check(archive: Archive, acknowledged: list[str]) -> None:
    await archive.open()
    stored = [encounter.id for encounter in await archive.encounters()]
    assert len(stored) == len(set(stored))
    assert {*acknowledged, "shared"} <= set(stored)
    found = await archive.verify()
    assert (found.faults, found.encounters) == ((), len(stored))
    texts = {record.text for record in [record async for record in archive.export()] if isinstance(record, Scene)}
    assert len(texts) == found.scenes
    await archive.aclose()


# --- Stand-ins for servers -------------------------------------------------------------------------------------------


def _stand_ins(file: str, name: str) -> Iterator[Callable[..., Any]]:
    """Starts stand-ins of a class in a file beside this one; they end with the test."""
    spec = importlib.util.spec_from_file_location(file, Path(__file__).with_name(f"{file}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    started: list[Any] = []

    def start(**options: Any) -> Any:
        started.append(getattr(module, name)(**options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def qdrant_server() -> Iterator[Callable[..., Any]]:
    """See ``qdrant_server.py``."""
    yield from _stand_ins("qdrant_server", "QdrantServer")


@pytest.fixture
def weaviate_server() -> Iterator[Callable[..., Any]]:
    """See ``weaviate_server.py``."""
    yield from _stand_ins("weaviate_server", "WeaviateServer")


# --- Any store -------------------------------------------------------------------------------------------------------

_PACKAGES = {"postgres": "psycopg", "qdrant": "qdrant_client", "qdrant-edge": "qdrant_edge", "weaviate": "weaviate"}
_NUMBERS = itertools.count()


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Archive]:
    """An empty archive of a kind."""

    def make(kind: str) -> Archive:
        if kind in _PACKAGES and importlib.util.find_spec(_PACKAGES[kind]) is None:
            pytest.skip(f"pip install 'scenepipe[{kind}]'")
        number = next(_NUMBERS)
        options: dict[str, dict[str, Any]] = {
            "sqlite": {"path": str(tmp_path / f"{number}.db")},
            "qdrant-edge": {"path": str(tmp_path / f"{number}")},
        }
        if kind == "postgres":
            options[kind] = {"url": request.getfixturevalue("postgres_server"), "schema": f"any_{number}"}
        if kind == "qdrant":
            options[kind] = {"url": request.getfixturevalue("qdrant_server")().url}
        if kind == "weaviate":
            server = request.getfixturevalue("weaviate_server")()
            options[kind] = {"url": server.url, "grpc_port": server.grpc_port}
        made: Archive = default_registry().load("archive", kind)(**options.get(kind, {}))
        return made

    return make
