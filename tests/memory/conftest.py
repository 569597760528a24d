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

STEPS = 200
"""The steps at which a victim is killed by name: opening or making the archive, then a few appends."""


class Killer:
    """Kills a process that appends to an archive again and again, round after round."""

    def __init__(self, archive: type[Archive], path: Path, preload: Path | None = None) -> None:
        command = [sys.executable, str(Path(__file__).with_name("victim.py")), archive.__module__, archive.__name__]
        environment = os.environ | ({"LD_PRELOAD": str(preload)} if preload else {})
        self._process = subprocess.Popen(
            [*command, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.acknowledged: list[str] = []

    def start(self, number: int, step: int = 0) -> int:
        """A victim's process id; it dies at that step, in odd rounds in the middle of it; 0: when it is killed."""
        assert self._process.stdin is not None
        print(number, step, number % 2, file=self._process.stdin, flush=True)
        return int(self.line().split()[1])

    def line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the victims' parent ended"
        return line.strip()

    def finish(self) -> None:
        """Read what the victim still acknowledged; it must have died of the signal, of nothing else."""
        lines = list(iter(self.line, f"killed {-signal.SIGKILL}"))
        assert not [line for line in lines if line.startswith("killed")], "the victim failed; see its traceback"
        self.acknowledged += lines

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


@pytest.fixture
def kill_9() -> Callable[[type[Archive], Path], None]:
    """Kills a process that writes again and again: no acknowledged encounter is lost, none doubled, none half there.

    Some rounds die before the first acknowledgement, while the archive is opened or made; the others after up to
    eight, at a random moment after the last of them.
    """

    def run(archive: type[Archive], path: Path) -> None:
        killer, chance = Killer(archive, path), random.Random(7)
        for number in range(SOAK):
            victim = killer.start(number)
            killer.acknowledged += [killer.line() for _ in range(max(0, chance.randrange(-3, 9)))]
            time.sleep(chance.random() * 0.2)
            os.kill(victim, signal.SIGKILL)
            killer.finish()
        killer.close()
        assert len(killer.acknowledged) > SOAK
        asyncio.run(_check(archive(path=str(path)), killer.acknowledged))

    return run


@pytest.fixture
def kill_9_at_steps(tmp_path: Path) -> Callable[[type[Archive], Path], None]:
    """The same, with the victim killed at each call that changes a file, or in the middle of it."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("needs Linux and a C compiler: apt-get install gcc")
    library = tmp_path / "kill_at_step.so"
    source = Path(__file__).with_name("kill_at_step.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)

    def run(archive: type[Archive], path: Path) -> None:
        killer = Killer(archive, path, library)
        for number, step in enumerate(range(1, STEPS + 1, max(1, STEPS // SOAK))):
            killer.start(number, step)
            killer.finish()
        killer.close()
        assert killer.acknowledged
        asyncio.run(_check(archive(path=str(path)), killer.acknowledged))

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


@pytest.fixture
def redis_server() -> Iterator[Callable[..., Any]]:
    """See ``redis_server.py``: no stand-in, but a server that a test may kill and empty."""
    pytest.importorskip("redis", reason="pip install 'scenepipe[redis]'")
    yield from _stand_ins("redis_server", "RedisServer")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a server that all tests share."""
    pytest.importorskip("redis", reason="pip install 'scenepipe[redis]'")
    servers = _stand_ins("redis_server", "RedisServer")
    yield next(servers)().url
    next(servers, None)


# --- Any store -------------------------------------------------------------------------------------------------------

_PACKAGES = {
    "postgres": "psycopg",
    "qdrant": "qdrant_client",
    "qdrant-edge": "qdrant_edge",
    "redis": "redis",
    "weaviate": "weaviate",
}
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
        if kind == "redis":
            options[kind] = {"url": request.getfixturevalue("redis_url"), "prefix": f"any_{number}"}
        if kind == "weaviate":
            server = request.getfixturevalue("weaviate_server")()
            options[kind] = {"url": server.url, "grpc_port": server.grpc_port}
        made: Archive = default_registry().load("archive", kind)(**options.get(kind, {}))
        return made

    return make
