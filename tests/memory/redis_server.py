"""A Redis server of a test's own, on a free port of the loopback, in a folder that goes with it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import redis


class RedisServer:
    """Started when it is made. Without options it writes no file.

    Args:
        options: of the configuration, ``appendonly="yes"``; ``_`` stands for ``-``.
    """

    def __init__(self, **options: str) -> None:
        self.program = shutil.which("redis-server")
        if self.program is None:
            pytest.skip("no Redis server here: apt-get install redis-server")
        self.folder = Path(tempfile.mkdtemp(prefix="scenepipe-redis-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = {"appendonly": "no", "save": ""} | options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert self.program is not None
        given = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder), **self._options}
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        self._process = subprocess.Popen([self.program, *words], stdout=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.01)

    def client(self) -> redis.Redis:
        """For the test itself; to be closed by it."""
        return redis.Redis(port=self.port, password=self._options.get("requirepass"), decode_responses=True)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._process = None

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def old_files(self) -> list[Path]:
        """Those of the append-only log that its manifest names no more."""
        folder = self.folder / "appendonlydir"
        named = (folder / "appendonly.aof.manifest").read_text()
        return [path for path in folder.iterdir() if path.suffix != ".manifest" and path.name not in named]

    def files(self) -> bytes:
        """Every byte that it has written to its folder."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)
