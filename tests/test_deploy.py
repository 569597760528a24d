"""The files of deploy/: parsed, held against each other and against the program they start. No image is built here."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from scenepipe.cli.app import app
from scenepipe.config import parse_config
from scenepipe.memory.qdrant import OLDEST

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.strip().partition(" ") for line in lines)]


def test_the_image_starts_the_server_with_options_that_it_has() -> None:
    found = dict(instructions())
    assert {name for name, _ in instructions()} <= {
        "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD",
    }  # fmt: skip
    assert json.loads(found["ENTRYPOINT"]) == ["scenepipe", "serve"]
    assert found["USER"] != "root"
    said = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["serve", "--help"]).output
    for option in (part for part in json.loads(found["CMD"]) if part.startswith("--")):
        assert option in said, option
    extras = re.search(r"\.whl\)\[([\w,-]+)\]", next(rest for name, rest in instructions() if "whl)" in rest))
    assert extras is not None
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(extras[1].split(",")) <= set(known)
    assert shlex.split(found["HEALTHCHECK"])


def test_the_services_find_each_other() -> None:
    services = compose()["services"]
    assert set(services) == {"server", "vllm", "qdrant", "prometheus"}
    assert (DEPLOY / services["server"]["build"]["context"] / services["server"]["build"]["dockerfile"]).is_file()
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services)
        assert "image" in service or "build" in service
        assert ":latest" not in service.get("image", ":1"), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_file() or source == "./keys.txt", source
            else:
                assert source in compose()["volumes"], source
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), port
    mounts = [volume.split(":")[1] for volume in services["server"]["volumes"]]
    command = json.loads(dict(instructions())["CMD"])
    assert {part for part in command if part.startswith("/")} <= set(mounts)


def test_the_archive_is_of_a_version_that_is_taken() -> None:
    version = compose()["services"]["qdrant"]["image"].rpartition(":v")[2]
    assert tuple(map(int, version.split(".")[:2])) >= OLDEST


def test_what_was_fetched_outlives_its_container() -> None:
    stage = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").rpartition("FROM")[2]
    cache = re.search(r"SCENEPIPE_CACHE=(\S+)", stage)
    assert cache is not None
    mounts = [volume.split(":")[1] for volume in compose()["services"]["server"]["volumes"]]
    assert any(cache[1].startswith(f"{mount}/") for mount in mounts)


def test_the_pipeline_is_one_and_asks_services_that_are_there() -> None:
    text = (DEPLOY / "pipeline.yaml").read_text(encoding="utf-8")
    config = parse_config(text, source="pipeline.yaml")
    assert config.stages
    services = compose()["services"]
    for host in re.findall(r"http://(\w+):\d+", text):
        assert host in services
    settings = yaml.safe_load(text)["backend"]
    started = services["vllm"]["command"]
    for option, name in (("--max-lora-rank", "max_rank"), ("--max-cpu-loras", "max_cpu_loras")):
        assert started[started.index(option) + 1] == str(settings[name])
    for service in ("server", "vllm"):
        assert any(v.startswith("adapters:" + settings["composed"]) for v in services[service]["volumes"])


def test_prometheus_asks_services_that_are_there() -> None:
    jobs = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = [target for job in jobs for config in job["static_configs"] for target in config["targets"]]
    assert {target.partition(":")[0] for target in targets} == {"server", "vllm"}
    assert all(target.partition(":")[2] == "8000" for target in targets)


def test_the_workflow_hangs_together_and_asks_a_route() -> None:
    flow = json.loads((DEPLOY / "n8n-workflow.json").read_text(encoding="utf-8"))
    names = {node["name"] for node in flow["nodes"]}
    assert len({node["id"] for node in flow["nodes"]}) == len(names) == len(flow["nodes"])
    ways = [(a, way["node"]) for a, way_out in flow["connections"].items() for out in way_out["main"] for way in out]
    assert {end for way in ways for end in way} == names
    (asks,) = [node for node in flow["nodes"] if node["type"] == "n8n-nodes-base.httpRequest"]
    assert asks["parameters"]["url"] == "http://server:8000/v1/responses"
    assert set(compose()["services"]) >= {"server"}
