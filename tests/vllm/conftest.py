"""Tests against the real vLLM: `make test-vllm` runs them in an environment of their own. Elsewhere they are skipped.

Tests in files of `SERVED` find a running ``vllm serve`` with scenepipe's plug-in at ``$SCENEPIPE_VLLM_URL``, which serves
``$SCENEPIPE_VLLM_MODEL``; one is started for all of them, unless both are set.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register, find_registers

INSTALLED = importlib.util.find_spec("vllm") is not None
REGISTERS = Path(__file__).parents[2] / "registers"
SERVED = ("test_plugin", "test_serve")
URL, MODEL = "SCENEPIPE_VLLM_URL", "SCENEPIPE_VLLM_MODEL"
MODEL_NAME = "gemma-3-270m"
START_SECONDS = 600
ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "2"}
"""The worker lives in the engine's process, with `UNI`: between two processes vLLM waits by spinning, one core of two. And its
threads are not pinned to cores, busy or not."""
UNI = "uni"
ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "SCENEPIPE_REGISTERS": str(REGISTERS),
    "SCENEPIPE_MODEL": MODEL_NAME,
}


@dataclass(frozen=True)
class Starting:
    """A server of our own, which may not answer yet."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path


for name, value in ONE_PROCESS.items():
    os.environ.setdefault(name, value)


def pytest_configure(config: pytest.Config) -> None:
    if INSTALLED:  # vLLM's and torch's own
        for category in ("DeprecationWarning", "FutureWarning", "UserWarning", "ResourceWarning"):
            config.addinivalue_line("filterwarnings", f"ignore::{category}")
        warnings.simplefilter("ignore", ResourceWarning)  # beyond the last test: a ZeroMQ context that vLLM leaves open


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(item.path).parent == Path(__file__).parent]
    for item in here:
        if not INSTALLED:
            item.add_marker(pytest.mark.skip(reason="vLLM is not installed; `make test-vllm` runs this"))


@pytest.fixture(scope="module", autouse=True)
def _served(request: pytest.FixtureRequest) -> None:
    if request.path.stem in SERVED:
        request.getfixturevalue("vllm_server")


@pytest.fixture(scope="session")
def registers() -> list[Register]:
    return list(find_registers(("poet", "philosopher"), [REGISTERS]).values())


@pytest.fixture(scope="session", autouse=True)
def _starting(
    request: pytest.FixtureRequest, local_model: LocalModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Starting | None]:
    """The server, begun with the first test if any needs it: it takes a minute, on a core that the others leave free."""
    needed = any(item.path.stem in SERVED for item in request.session.items)
    if not needed or (URL in os.environ and MODEL in os.environ):
        yield None
        return
    from scenepipe.models.dequantise import safetensors_of

    port, log = _free_port(), tmp_path_factory.mktemp("vllm") / "serve.log"
    environment = {**os.environ, **ENVIRONMENT}
    command = _command(str(safetensors_of(local_model)), port)
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        yield Starting(server, f"http://127.0.0.1:{port}", log)
    finally:
        _end(server)


@pytest.fixture(scope="session")
def vllm_server(_starting: Starting | None) -> Iterator[str]:
    """The address of a stock server with the default model and the plug-in that is installed with scenepipe."""
    if _starting is None:
        yield os.environ[URL]
        return
    _wait(_starting)
    os.environ[URL], os.environ[MODEL] = _starting.url, MODEL_NAME
    yield _starting.url
    del os.environ[URL], os.environ[MODEL]


def _command(weights: str, port: int) -> list[str]:
    """By its module: the command ``vllm`` of vllm-cpu 0.32 asks for the version of a distribution "vllm", and fails."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", weights]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL_NAME]
    command += ["--max-model-len", "1024", "--max-num-seqs", "8", "--dtype", "bfloat16", "--enforce-eager"]
    command += ["--enable-lora", "--max-loras", "4", "--max-cpu-loras", "8", "--max-lora-rank", "32"]
    command += ["--kv-cache-memory-bytes", str(1 << 29), "--max-num-batched-tokens", "1024"]
    command += ["--distributed-executor-backend", UNI]
    command += ["--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}']
    return [*command, "--no-enable-chunked-prefill"]  # on a CPU a prompt with a seed that is read in parts ends it


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(starting: Starting) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and starting.process.poll() is None:
        try:
            with urllib.request.urlopen(starting.url + "/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"vLLM's server did not start; the end of its log:\n{starting.log.read_text(errors='replace')[-4000:]}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """The whole group: the engine is a child of the server."""
    if server.poll() is not None:
        return
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)
