"""Triton's own server, from the wheel of nvidia-pytriton, with a model that has the manners of its vLLM backend.

`make test-triton` runs these tests in an environment of their own; elsewhere they are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenepipe.backends.servers.vocabulary import DEPLOYED
from tests.scenepipe.backends.triton_suite import SERVED

START_SECONDS = 120
INPUTS = {
    "text_input": "STRING",
    "stream": "BOOL",
    "sampling_parameters": "STRING",
    "exclude_input_in_output": "BOOL",
    "return_finish_reason": "BOOL",
    "return_cumulative_logprob": "BOOL",
    "return_logprobs": "BOOL",
    "return_num_input_tokens": "BOOL",
    "return_num_output_tokens": "BOOL",
}
OUTPUTS = {
    "text_output": "STRING",
    "finish_reason": "STRING",
    "num_input_tokens": "UINT32",
    "num_output_tokens": "UINT32",
}


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("pytriton")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent and _wheel() is None:
            item.add_marker(pytest.mark.skip(reason="nvidia-pytriton is not installed; `make test-triton` runs this"))


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose model `SERVED` has the adapters of `DEPLOYED`."""
    wheel, folder, port = _wheel(), tmp_path_factory.mktemp("triton"), _free_port()
    assert wheel is not None
    _repository(folder / "models")
    _backend(folder / "backends", wheel)
    command = [str(wheel / "tritonserver/bin/tritonserver"), f"--model-repository={folder / 'models'}"]
    command += [f"--backend-directory={folder / 'backends'}", "--http-address=127.0.0.1", f"--http-port={port}"]
    command += ["--allow-grpc=false", "--allow-metrics=false", "--exit-timeout-secs=2"]
    log = folder / "triton.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env=_environment(wheel), cwd=Path(__file__).parents[2]
        )
    try:
        _wait(server, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


def _backend(backends: Path, wheel: Path) -> None:
    """Triton's Python backend with the process for this Python's version, which the wheel has beside it."""
    shutil.copytree(wheel / "tritonserver/backends/python", backends / "python")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / f"tritonserver/python_backend_stubs/{version}/triton_python_backend_stub"
    shutil.copy(stub, backends / "python")


def _repository(models: Path) -> None:
    """A model repository of one model."""
    model = models / SERVED
    (model / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "triton_model.py", model / "1/model.py")
    lines = ['backend: "python"', "max_batch_size: 0", "model_transaction_policy { decoupled: true }"]
    lines += ["instance_group [ { count: 1, kind: KIND_CPU } ]"]
    lines += [f'input {{ name: "{k}", data_type: TYPE_{v}, dims: [1], optional: true }}' for k, v in INPUTS.items()]
    lines += [f'output {{ name: "{k}", data_type: TYPE_{v}, dims: [-1] }}' for k, v in OUTPUTS.items()]
    for key, value in {"adapters": json.dumps(list(DEPLOYED.values())), "long_s": "0.2"}.items():
        lines.append(f'parameters {{ key: "{key}", value: {{ string_value: {json.dumps(value)} }} }}')
    (model / "config.pbtxt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _environment(wheel: Path) -> dict[str, str]:
    """The stub is linked to the library of this Python, and has the packages of the ``python3`` that is found first."""
    libraries = [str(wheel.parent / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "PATH": path}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"Triton did not start; the end of its log:\n{log.read_text(errors='replace')[-4000:]}")
