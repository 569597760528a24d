"""Model names of the vLLM plug-in: which become a composed adapter, and that none leads anywhere else. Without vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from scenepipe import vllm_plugin
from scenepipe.errors import MixtureError, RegisterError, ScenepipeError
from scenepipe.models.adapter import adapter_sha256, load_adapter
from scenepipe.models.receipt import PROMPT_VERSIONS
from scenepipe.vllm_plugin import Mixtures

BASE = "a" * 64
MODULE = "model.layers.0.self_attn.q_proj"


def write_register(
    root: Path, name: str, *, kind: str = "voice", base: str = BASE, models: tuple[str, ...] = ("tiny",)
) -> Path:
    """A register folder with an adapter of rank 2 for each model."""
    home = root / name
    random = np.random.default_rng(len(name))
    card: dict[str, Any] = {
        "register": 1,
        "kind": kind,
        "name": name,
        "symbol": "≈",
        "emoji": "🍃",
        "licence": "CC0-1.0",
    }
    card |= {"titles": {"ru": "П", "en": "P"}, "description": {"ru": "П", "en": "P"}}
    card["adapters"] = {model: f"adapters/{model}" for model in models}
    for model in models:
        folder = home / "adapters" / model
        folder.mkdir(parents=True)
        tensors = {
            f"base_model.model.{MODULE}.lora_A.weight": random.normal(size=(2, 4)).astype(np.float32),
            f"base_model.model.{MODULE}.lora_B.weight": random.normal(size=(4, 2)).astype(np.float32),
        }
        save_file(tensors, folder / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "target_modules": ["q_proj"]}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        receipt = {"receipt": 1, "model": model, "kind": kind, "prompt_version": PROMPT_VERSIONS[kind]}
        receipt |= {"base": {"sha256": base, "tokenizer_sha256": BASE}, "data_sha256": BASE}
        receipt["adapter_sha256"] = adapter_sha256(folder)
        (folder / "receipt.json").write_text(json.dumps(receipt))
    (home / "register.yaml").write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")
    return home


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCENEPIPE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "registers"
    for name in ("poet", "logician"):
        write_register(root, name)
    return root


def delta(folder: Path) -> np.ndarray[Any, Any]:
    return load_adapter(folder).modules[MODULE].delta


# --- what is answered -------------------------------------------------------------------------------------------------


def test_a_mixture_is_the_weighted_sum(root: Path) -> None:
    made = Mixtures([root]).adapter("mix:poet@0.6+logician@0.4")
    assert made is not None
    parts = [w * delta(root / name / "adapters" / "tiny") for name, w in (("poet", 0.6), ("logician", 0.4))]
    assert np.allclose(delta(made.folder), sum(parts), atol=1e-5)


def test_a_name_without_weight_is_the_whole_register_and_order_means_nothing(root: Path) -> None:
    mixtures = Mixtures([root])
    whole = mixtures.adapter("mix:poet")
    assert whole == mixtures.adapter("mix:poet@1")
    assert mixtures.adapter("mix:poet@0.5+logician@0.5") == mixtures.adapter("mix:logician@0.5+poet@0.5")


def test_the_base_is_an_adapter_of_zeros(root: Path) -> None:
    for name in ("mix:base", "mix:poet@0"):
        made = Mixtures([root]).adapter(name)
        assert made is not None
        assert load_adapter(made.folder).zero


def test_other_names_are_none_of_ours(root: Path) -> None:
    for name in ("", "gpt-4", "poet", "Mix:poet", "/etc/passwd"):
        assert Mixtures([root]).adapter(name) is None


def test_the_first_root_wins_and_the_second_is_looked_in(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "more"
    write_register(other, "sailor")
    write_register(other, "poet", base="b" * 64)
    assert Mixtures([root, other]).adapter("mix:sailor@0.3+poet@0.3") is not None


# --- what is refused --------------------------------------------------------------------------------------------------

HOSTILE = [
    "mix:../poet",
    "mix:/etc@0.5",
    "mix:poet/../poet",
    "mix:poet/adapters",
    "mix:..",
    "mix:.",
    "mix:",
    "mix:po\0et",
    "mix:poet\n",
    "mix:Poet",
    "mix:рoet",
    "mix:poet@nan",
    "mix:poet@inf",
    "mix:poet@-0.5",
    "mix:poet@2",
    "mix:poet@0.6+poet@0.4",
    "mix:poet@0.6+logician@0.5",
    "mix:poet@0.6+nobody@0.1",
    "mix:" + "+".join(f"a{n}@0.0001" for n in range(200)),
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_that_is_no_mixture_is_refused(name: str, root: Path) -> None:
    with pytest.raises(MixtureError):
        Mixtures([root]).adapter(name)
    assert not (root.parent / "cache").exists()


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=60).map(lambda text: "mix:" + text))
def test_no_name_reaches_beyond_the_registers(name: str, root: Path) -> None:
    try:
        made = Mixtures([root]).adapter(name)
    except ScenepipeError:
        return
    assert made is None or made.folder.resolve().is_relative_to((root.parent / "cache").resolve())


def test_a_register_that_is_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    write_register(tmp_path / "elsewhere", "spy")
    (root / "spy").symlink_to(tmp_path / "elsewhere" / "spy")
    with pytest.raises(RegisterError, match="leads out of its root"):
        Mixtures([root]).adapter("mix:spy")


@pytest.mark.parametrize("link", ["adapters", "adapters/tiny", "adapters/tiny/adapter_model.safetensors"])
def test_an_adapter_that_leads_out_is_refused(link: str, root: Path, tmp_path: Path) -> None:
    place = root / "poet" / link
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    with pytest.raises(RegisterError):
        Mixtures([root]).adapter("mix:poet")


def test_a_root_that_is_reached_by_a_link_is_fine(root: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(root)
    assert Mixtures([tmp_path / "linked"]).adapter("mix:poet") is not None


def test_changed_weights_and_readers_of_scenes_are_refused(root: Path) -> None:
    write_register(root, "reader", kind="scene")
    with pytest.raises(RegisterError, match="only voices"):
        Mixtures([root]).adapter("mix:reader")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy(root / "logician/adapters/tiny" / file, root / "poet/adapters/tiny" / file)
    with pytest.raises(RegisterError, match="changed after training"):
        Mixtures([root]).adapter("mix:poet")


def test_registers_of_different_bases_are_not_mixed(root: Path) -> None:
    write_register(root, "sailor", base="b" * 64)
    with pytest.raises(RegisterError, match="different base models"):
        Mixtures([root]).adapter("mix:poet@0.5+sailor@0.5")


def test_the_model_is_named_where_there_are_several(root: Path) -> None:
    write_register(root, "sailor", models=("tiny", "large"))
    with pytest.raises(RegisterError, match="set SCENEPIPE_MODEL"):
        Mixtures([root]).adapter("mix:sailor")
    assert Mixtures([root], model="large").adapter("mix:sailor") is not None
    with pytest.raises(RegisterError, match="no adapter for model 'large'"):
        Mixtures([root], model="large").adapter("mix:poet")


def test_a_server_answers_so_many_mixtures_and_keeps_them(root: Path) -> None:
    mixtures = Mixtures([root], most=2)
    first = mixtures.adapter("mix:poet@0.1")
    mixtures.adapter("mix:poet@0.2")
    with pytest.raises(MixtureError, match="raise SCENEPIPE_MIXTURES"):
        mixtures.adapter("mix:poet@0.10000000001")
    assert mixtures.adapter("mix:poet@0.1") is first
    assert first is not None
    assert first.folder.is_dir()


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegisterError, match="is not a folder"):
        Mixtures([tmp_path / "missing"])


# --- vLLM's side ------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The two modules of vLLM that the plug-in imports."""
    found: dict[str, Any] = {}
    resolver, request = ModuleType("vllm.lora.resolver"), ModuleType("vllm.lora.request")
    resolver.LoRAResolver = object  # type: ignore[attr-defined]
    resolver.LoRAResolverRegistry = SimpleNamespace(register_resolver=found.__setitem__)  # type: ignore[attr-defined]
    request.LoRARequest = lambda **given: SimpleNamespace(**given)  # type: ignore[attr-defined]
    for module in (ModuleType("vllm"), ModuleType("vllm.lora"), resolver, request):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return found


def test_without_the_variable_nothing_is_registered(registry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCENEPIPE_REGISTERS", raising=False)
    vllm_plugin.register()
    assert not registry


def test_the_resolver_answers_and_says_why_not(
    registry: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SCENEPIPE_REGISTERS", str(root))
    monkeypatch.setenv("SCENEPIPE_MODEL", "tiny")
    monkeypatch.setenv("SCENEPIPE_MIXTURES", "1")
    vllm_plugin.register()
    resolve = registry["scenepipe"].resolve_lora
    told = asyncio.run(resolve("some model", "mix:poet@0.6+logician@0.4"))
    assert told.lora_name == "mix:poet@0.6+logician@0.4"
    assert told.lora_int_id >= 1
    assert load_adapter(Path(told.lora_path)).modules
    assert asyncio.run(resolve("some model", "gpt-4")) is None
    with caplog.at_level(logging.WARNING, "vllm.scenepipe"):
        assert asyncio.run(resolve("some model", "mix:poet@0.1")) is None
    assert "raise SCENEPIPE_MIXTURES" in caplog.text


@pytest.mark.parametrize("given", ["0", "-1", "many", "٣", "1.5"])
def test_a_wrong_number_of_mixtures_is_refused(
    given: str, registry: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENEPIPE_REGISTERS", str(root))
    monkeypatch.setenv("SCENEPIPE_MIXTURES", given)
    with pytest.raises(RegisterError, match="SCENEPIPE_MIXTURES"):
        vllm_plugin.register()


CHILD = "import time; from scenepipe import vllm_plugin as p; p._WATCH_SECONDS = 0.05; p.register(); print('up', flush=True); time.sleep(60)"
PARENT = f"""
import os, subprocess, sys, time
os.environ["SCENEPIPE_VLLM_PARENT"] = sys.argv[1].replace("me", str(os.getpid()))
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("given", "ends"), [("me", True), ("1", False), ("", False)])
def test_an_engine_process_ends_with_its_parent_and_only_with_it(given: str, ends: bool) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, given], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        assert _gone(child, 10.0 if ends else 0.5) is ends
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _gone(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_it_is_found_by_vllms_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    point = EntryPoint(
        "scenepipe", project["entry-points"]["vllm.general_plugins"]["scenepipe"], "vllm.general_plugins"
    )
    assert point.load() is vllm_plugin.register
