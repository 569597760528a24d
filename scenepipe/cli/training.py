"""``scenepipe register train``: a register's adapter from its own examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenepipe.cli.guard import Refused
from scenepipe.cli.register import DEFAULT_MODEL, Paths, find, local_model

if TYPE_CHECKING:
    from rich.progress import Progress

    from scenepipe.register import Register
    from scenepipe.training.settings import TrainSettings

NEEDED = ("torch", "transformers", "peft", "trl")


def train(
    register: Annotated[str, typer.Argument(metavar="NAME|FOLDER", help="A register's name or its folder.")],
    model: Annotated[str, typer.Option(metavar="ID", help="The base model to train on.")] = DEFAULT_MODEL,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML of settings; the register's train.yaml otherwise.")
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, over the file's; repeat it.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew where a run was cut short.")] = False,
    path: Paths = None,
) -> None:
    """Train a register's adapter; a run that was cut short goes on where it was."""
    from scenepipe.cli.console import note, print_json
    from scenepipe.models.dequantise import safetensors_of
    from scenepipe.register import name_adapter
    from scenepipe.training.train import Base
    from scenepipe.training.train import train as run

    found = find(register, path)
    settings = _settings(found, config, given or [])
    _need_packages()
    local = local_model(model)
    base = Base(local.id, safetensors_of(local), local.sha256, local.tokenizer_sha256)
    with _bar() as bar:
        receipt = run(found, base, settings, resume=not fresh, progress=_shown(bar, found.name))
    print_json(receipt["figures"])
    note(f"wrote {found.folder / 'adapters' / base.id}")
    if not name_adapter(found, base.id):
        note(f"name it in {found.folder / 'register.yaml'}, under adapters:  {base.id}: adapters/{base.id}")


def _need_packages() -> None:
    from importlib.util import find_spec

    from scenepipe.errors import MissingExtraError

    for name in NEEDED:
        if find_spec(name) is None:
            raise MissingExtraError("register train", name, "train")


def _settings(register: Register, config: Path | None, given: list[str]) -> TrainSettings:
    import yaml

    from scenepipe.training.settings import SETTINGS_FILE, TrainSettings, read_settings, validated

    path = config or register.folder / SETTINGS_FILE
    base = read_settings(path) if config or path.is_file() else TrainSettings()
    changes: dict[str, Any] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals:
            raise Refused(f"--set {pair}: write it as KEY=VALUE, such as rate=1e-4")
        try:
            changes[key.strip()] = float(value) if _is_number(value) else yaml.safe_load(value)
        except yaml.YAMLError:
            raise Refused(f"--set {pair}: the value is not YAML") from None
    return validated(base.model_dump() | changes, "--set") if changes else base


def _is_number(value: str) -> bool:
    """YAML 1.1 takes 1e-4 for a word."""
    try:
        float(value)
    except ValueError:
        return False
    return not value.strip().lstrip("+-").isdigit()


def _bar() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from scenepipe.cli.console import stderr

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  dev {task.fields[dev]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=stderr())


def _shown(bar: Progress, name: str) -> Any:
    """Progress of a run: a bar on a terminal, a line per evaluation elsewhere."""
    task = bar.add_task(name, total=None, loss="–", dev="–")

    def show(step: int, steps: int, figures: dict[str, float]) -> None:
        fields: dict[str, Any] = {
            field: f"{figures[key]:.3f}" for key, field in (("loss", "loss"), ("eval_loss", "dev")) if key in figures
        }
        bar.update(task, completed=step, total=steps or None, **fields)
        if "eval_loss" in figures and not bar.console.is_terminal:
            bar.console.print(f"{name}: step {step} of {steps}, dev loss {figures['eval_loss']:.4f}")

    return show
