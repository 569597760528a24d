"""A checked configuration becomes a pipeline: constructs stages and resources, opens nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenepipe.config import BudgetConfig, Component, PipelineConfig, load_config
from scenepipe.context import Budget
from scenepipe.errors import ConfigError, Fault, RegisterError, ScenepipeError
from scenepipe.fingerprint import fingerprint_parts
from scenepipe.pipeline import Pipeline
from scenepipe.registry import Kind, Registry, default_registry
from scenepipe.rooms import find_pipeline, room
from scenepipe.yaml_source import read_yaml

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.models.fetch import Progress
    from scenepipe.register import Register


def load(
    path: str | os.PathLike[str],
    *,
    registry: Registry | None = None,
    env: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Pipeline:
    """The pipeline of a YAML file, or of a shipped one by name (``quickstart``). Opens nothing yet.

    Args:
        registry: where names are looked up; the default one knows the rooms and installed plug-ins.
        env: environment for ``${VAR}``; None: the process's.
        say: called with a licence notice when the model has to be fetched.
        progress: called while it is fetched.

    Raises:
        ConfigError: every fault at once, with line and column.
    """
    config = load_config(find_pipeline(os.fspath(path)), registry=registry, env=env)
    return build(config, registry=registry, say=say, progress=progress)


def build(
    config: PipelineConfig,
    *,
    registry: Registry | None = None,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Pipeline:
    """The pipeline of a checked configuration.

    Raises:
        ConfigError: a constructor refused its options, a register is missing, or the stages do not fit each other.
    """
    parts = _Parts(config, registry or default_registry())
    stages = [(part.use, parts.make("stage", part, f"stages.{i}")) for i, part in enumerate(config.stages)]
    shared = {
        "backend": parts.shared("backend", config.backend, "backend"),
        "archive": parts.shared("archive", config.memory, "memory"),
        "encoder": parts.shared("encoder", config.encoder, "encoder"),
    }
    registers = parts.registers()
    parts.stop_at_faults()
    model = _finder(config.model, say, progress) if config.model is not None else None
    try:
        return Pipeline(
            stages,
            name=config.name,
            model=model,
            registers=registers,
            deadline_s=config.deadline_s,
            budget=_budget(config.budget),
            fingerprint=lambda: _fingerprint(config, registers, model),
            **shared,
        )
    except ConfigError as error:
        parts.faults.extend(error.faults)
        parts.stop_at_faults()
        raise


class _Parts:
    """Makes the parts of one configuration and collects what goes wrong."""

    def __init__(self, config: PipelineConfig, registry: Registry) -> None:
        self.config = config
        self.registry = registry
        self.faults: list[Fault] = []

    def make(self, kind: Kind, part: Component, where: str) -> Any:
        try:
            return self.registry.load(kind, part.use)(**part.options)
        except ScenepipeError as error:
            faults = error.faults if isinstance(error, ConfigError) else (Fault(where, str(error)),)
            self.faults.extend(
                Fault(f"{where}.{f.where}".rstrip(".") if f.where != where else where, f.message) for f in faults
            )
        except (ValueError, TypeError) as error:
            self.faults.append(Fault(where, f"{part.use}: {error}"))
        return None

    def shared(self, kind: Kind, part: Component | None, where: str) -> Any:
        return None if part is None else self.make(kind, part, where)

    def registers(self) -> dict[str, Register]:
        if not self.config.registers:
            return {}
        from scenepipe.register import find_registers, load_register

        beside = Path(self.config.source).parent
        roots = [*(beside / Path(p).expanduser() for p in self.config.register_paths), room("registers")]
        found: dict[str, Register] = {}
        for index, name in enumerate(self.config.registers):
            try:
                if name.startswith((".", "/", "~")):
                    register = load_register(beside / Path(name).expanduser())
                else:
                    register = find_registers([name], roots)[name]
                found[register.name] = register
            except RegisterError as error:
                self.faults.append(Fault(f"registers.{index}", str(error)))
        return found

    def stop_at_faults(self) -> None:
        if self.faults:
            raise ConfigError(_placed(self.faults, self.config.source), self.config.source)


def _placed(faults: Sequence[Fault], source: str) -> list[Fault]:
    """The faults with line and column, where the file is still there to look."""
    try:
        document = read_yaml(Path(source).read_bytes())
    except OSError:
        return list(faults)
    return [Fault(f.where, f.message, *document.place(_path(f.where))) for f in faults]


def _path(where: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in where.split(".") if part)


def _budget(config: BudgetConfig | None) -> Callable[[], Budget]:
    if config is None:
        return Budget
    return lambda: Budget(tokens=config.tokens, calls=config.calls)


def _finder(name: str, say: Callable[[str], None] | None, progress: Progress | None) -> Callable[[], LocalModel]:
    def find() -> LocalModel:
        from scenepipe.models import fetch

        return fetch.local(name) or fetch.pull(name, say=say, progress=progress)

    return find


def _fingerprint(
    config: PipelineConfig, registers: Mapping[str, Register], model: Callable[[], LocalModel] | None
) -> dict[str, str]:
    """What must be equal for a stopped run to go on: version, pipeline, model, and every file of each register."""
    from scenepipe import __version__

    normal = json.dumps(fingerprint_parts(config), sort_keys=True, ensure_ascii=False)
    marks = {"scenepipe": __version__, "pipeline": hashlib.sha256(normal.encode()).hexdigest()[:16]}
    if model is not None:
        marks["model"] = model().sha256[:16]
    for name, register in registers.items():
        marks[f"register {name}"] = _folder_hash(register.folder)
    return marks


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md"):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
