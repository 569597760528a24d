"""A register: a folder of data (card, examples, adapters) loaded and checked. No code is ever loaded from it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenepipe.analysis.model_answer import SceneAnswer
from scenepipe.errors import RegisterError, did_you_mean
from scenepipe.mixture import REGISTER_NAME
from scenepipe.models.receipt import AdapterFolder, file_mismatches, messages, mismatches, read_receipt, read_text
from scenepipe.prompt import ScenePrompt
from scenepipe.scene_prompt import SceneRequest

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel

Kind = Literal["voice", "scene"]

CARD_FILE = "register.yaml"
EXAMPLES_FILE = "examples.jsonl"
FITS_FILE = "fits.jsonl"
LARGEST_CARD = 1 << 20
LARGEST_EXAMPLES = 64 << 20
_MOST_FAULTS = 50


@dataclass(frozen=True)
class Register:
    """One adapter with its card: a voice, or a reader of scenes.

    Args:
        name: its name in YAML and mixtures.
        folder: where it lives.
        titles, description: by language (``ru``, ``en``).
        symbol: one character for bars and formulas.
        emoji: one emoji.
        licence: SPDX id or name of the licence of its texts.
        adapters: adapter folder by base model id, inside ``folder``.
        kind: ``voice`` speaks replies and may stand in a mixture; ``scene`` answers for the stage ``llm-scene`` alone.
    """

    name: str
    folder: Path
    titles: dict[str, str]
    description: dict[str, str]
    symbol: str
    emoji: str
    licence: str
    adapters: dict[str, Path]
    kind: Kind = "voice"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


R = TypeVar("R", bound=_Data)
Text = Annotated[str, Field(min_length=1, max_length=4000)]


class _Bilingual(_Data):
    ru: Text
    en: Text


class _Card(_Data):
    register_: Annotated[Literal[1], Field(alias="register")]
    kind: Kind = "voice"
    name: Annotated[str, Field(pattern=f"^{REGISTER_NAME.pattern}$")]
    titles: _Bilingual
    description: _Bilingual
    symbol: Annotated[str, Field(min_length=1, max_length=1)]
    emoji: Annotated[str, Field(min_length=1, max_length=16)]
    licence: Text
    adapters: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")], Text] = {}


class Example(_Data):
    """One training row: the input, the symbols its reply unfolds, the reply, and how well this voice fits the input."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    language: Literal["ru", "en"]
    split: Literal["train", "dev", "test"]
    text: str
    linkage: tuple[str, ...]
    reply: str
    fit: Annotated[float, Field(ge=0.0, le=1.0)]


class Fit(_Data):
    """An input without a reply and how well this voice fits it: the router learns from it, the adapter does not."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    language: Literal["ru", "en"]
    text: str
    fit: Annotated[float, Field(ge=0.0, le=1.0)]


class SceneExample(_Data):
    """One training row of a register of kind ``scene``: the input and the answer that is to be learnt."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    language: Literal["ru", "en"]
    split: Literal["train", "dev", "test"]
    text: str
    scene: SceneAnswer


Row = Example | SceneExample


# --- load ------------------------------------------------------------------------------------------------------------


def load_register(folder: Path) -> Register:
    """Read a register's card. Examples and adapters are read when they are asked for.

    Raises:
        RegisterError: no card, or a card with faults; names all of them.
    """
    path = folder / CARD_FILE
    data, home = _read_yaml(path), folder.resolve()
    faults, card = [], None
    try:
        card = _Card.model_validate(data)
    except ValidationError as error:
        faults = messages(error)
    if isinstance(data.get("name"), str) and data["name"] != home.name:
        faults.append(f"name: it is '{data['name']}' and the folder is '{home.name}'; they must be the same")
    for model, given in _adapters(data):
        if why := _outside(home, given):
            faults.append(f"adapters.{model}: {why}")
    if faults or card is None:
        raise _card_error(path, faults)
    return Register(
        name=card.name,
        folder=home,
        titles=card.titles.model_dump(),
        description=card.description.model_dump(),
        symbol=card.symbol,
        emoji=card.emoji,
        licence=card.licence,
        adapters={model: home / given for model, given in card.adapters.items()},
        kind=card.kind,
    )


def _adapters(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    adapters = data.get("adapters")
    return [(k, v) for k, v in adapters.items() if isinstance(v, str)] if isinstance(adapters, dict) else []


def find_registers(names: Iterable[str], roots: Sequence[Path]) -> dict[str, Register]:
    """Registers by name, in the order of ``names``; the first root that has one wins.

    Args:
        roots: folders that hold register folders.

    Raises:
        RegisterError: a name that no root has, or a card with faults; all of them at once.
    """
    known = available(roots)
    found, faults = {}, []
    for name in names:
        if name not in known:
            places = ", ".join(map(str, roots)) or "no folder"
            faults.append(f"unknown register '{name}' (looked in {places}); {did_you_mean(name, known)}")
            continue
        try:
            found[name] = load_register(known[name])
        except RegisterError as error:
            faults.append(str(error))
    if faults:
        raise RegisterError("\n".join(faults))
    return found


def available(roots: Sequence[Path]) -> dict[str, Path]:
    """Every register folder (one with a card) in the roots, by name; cards are not read."""
    found: dict[str, Path] = {}
    for root in roots:
        for card in sorted(root.glob(f"*/{CARD_FILE}")):
            found.setdefault(card.parent.name, card.parent)
    return found


def examples(register: Register) -> list[Example]:
    """A voice's rows, in the order of the file; empty lines are skipped.

    Raises:
        RegisterError: no file, or rows with faults; names all of them by line (the first 50). The register is no voice.
    """
    if register.kind != "voice":
        raise RegisterError(f"register '{register.name}' is of kind '{register.kind}', not a voice; it has no replies")
    return _rows(register.folder / EXAMPLES_FILE, Example)


def fits(register: Register) -> list[Fit]:
    """A voice's inputs without replies; none where it has no such file.

    Raises:
        RegisterError: rows with faults; names them as `examples`.
    """
    path = register.folder / FITS_FILE
    return _rows(path, Fit) if path.is_file() else []


def scene_examples(register: Register) -> list[SceneExample]:
    """The rows of a register of kind ``scene``, as `examples`.

    Raises:
        RegisterError: as `examples`.
    """
    if register.kind != "scene":
        raise RegisterError(
            f"register '{register.name}' is of kind '{register.kind}'; its rows are replies, not scenes"
        )
    return _rows(register.folder / EXAMPLES_FILE, SceneExample)


def rows_of(register: Register) -> Sequence[Row]:
    """The rows of a register of either kind.

    Raises:
        RegisterError: as `examples`.
    """
    return scene_examples(register) if register.kind == "scene" else examples(register)


def prompt_and_answer(row: Row, echo: str | None = None) -> tuple[str, str]:
    """What a model is given for a row and what it learns to answer, after one space. A scene's request has no echo."""
    if isinstance(row, SceneExample):
        return SceneRequest(row.text, row.language, examples=False).render(), row.scene.to_json()
    prompt = ScenePrompt(row.text, row.language, row.linkage, (echo,) if echo else ())
    return prompt.render(), row.reply


def _rows(path: Path, of: type[R]) -> list[R]:
    rows, faults = [], []
    for number, line in enumerate(read_text(path, LARGEST_EXAMPLES).split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(of.model_validate_json(line))
        except ValidationError as error:
            faults += [f"  {path.name}:{number}: {message}" for message in messages(error)]
    if faults:
        more = [f"  and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
        raise RegisterError("\n".join([f"{len(faults)} faults in {path}", *faults[:_MOST_FAULTS], *more]))
    return rows


def adapter_of(register: Register, model: LocalModel) -> AdapterFolder:
    """The register's adapter for this very model, proven by its receipt. Reads the weights once to hash them.

    Raises:
        RegisterError: there is none for this model; it was made for other weights, another vocabulary or another
            prompt version; its file is not the one the receipt names; or its folder leads out of the register's.
    """
    from scenepipe.models.adapter import adapter_sha256

    folder = register.adapters.get(model.id)
    if folder is None:
        raise RegisterError(
            f"register '{register.name}' has no adapter for model '{model.id}'; "
            f"{did_you_mean(model.id, register.adapters)}"
        )
    if why := _outside(register.folder, os.path.relpath(folder, register.folder)):
        raise RegisterError(f"register '{register.name}': {why}")
    if not folder.is_dir():
        raise RegisterError(
            f"register '{register.name}': {folder} does not exist; train it, or take it out of {CARD_FILE}"
        )
    receipt = read_receipt(folder)
    sha256 = adapter_sha256(folder)
    if faults := mismatches(receipt, sha256, model, register.kind):
        raise RegisterError(
            f"register '{register.name}', adapter for '{model.id}':\n" + "\n".join(f"  {f}" for f in faults)
        )
    return AdapterFolder(folder, sha256, receipt)


def name_adapter(register: Register, model_id: str) -> bool:
    """Name ``adapters/<model_id>`` in a card that names no adapter yet; False where it names others and not this one.

    Every other line of the card stays as it was written.
    """
    if model_id in register.adapters:
        return True
    path = register.folder / CARD_FILE
    text = read_text(path, LARGEST_CARD)
    entry = f"adapters:\n  {model_id}: adapters/{model_id}\n"
    if register.adapters:
        return False
    named, count = re.subn(r"(?m)^adapters:[ \t]*(\{[ \t]*\}|null|~)?[ \t]*(#.*)?(\n|\Z)", lambda _: entry, text)
    part = path.with_suffix(".part")
    part.write_text(named if count else text.rstrip("\n") + "\n" + entry, encoding="utf-8")
    part.replace(path)
    return True


# --- check -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One thing that ``scenepipe register check`` found.

    Args:
        level: ``error`` (the register must not be used so) or ``warning`` (it works, and could be better).
        where: ``examples.jsonl ru-0001``, ``adapters/gemma-3-270m``.
        message: what is wrong and what to do.
    """

    level: Literal["error", "warning"]
    where: str
    message: str


def check_register(register: Register, model: LocalModel | None = None) -> list[Finding]:
    """Everything that can be said about a register without running a model; an empty list is a clean one.

    Args:
        model: also prove that its adapter is for this very model.
    """
    found = [*_check_card(register), *_check_rows(register, model)]
    for model_id in register.adapters:
        found += _check_adapter(register, model_id, model if model and model.id == model_id else None)
    if model is not None and model.id not in register.adapters:
        found.append(Finding("error", "adapters", f"no adapter for model '{model.id}'; train one"))
    return found


def _check_rows(register: Register, model: LocalModel | None) -> list[Finding]:
    from scenepipe.models.check_examples import check_examples, check_fits

    try:
        rows = rows_of(register)
    except RegisterError as error:
        return [Finding("error", EXAMPLES_FILE, str(error))]
    found = [Finding(level, f"{EXAMPLES_FILE} {id}", text) for level, id, text in check_examples(rows, model)]
    try:
        without = fits(register)
    except RegisterError as error:
        return [*found, Finding("error", FITS_FILE, str(error))]
    return found + [Finding(level, f"{FITS_FILE} {id}", text) for level, id, text in check_fits(without, rows)]


def _check_card(register: Register) -> list[Finding]:
    found = []
    if not (register.folder / "README.md").is_file():
        found.append(
            Finding("warning", "README.md", "missing; it tells intent, data, figures and limits of this register")
        )
    if not register.adapters:
        found.append(Finding("warning", CARD_FILE, "it names no adapter yet, so the register cannot speak"))
    return found


def _check_adapter(register: Register, model_id: str, model: LocalModel | None) -> list[Finding]:
    from scenepipe.models.adapter import load_adapter

    where, folder = f"adapters {model_id}", register.adapters[model_id]
    try:
        if model is not None:
            adapter_of(register, model)
        adapter, receipt = load_adapter(folder), read_receipt(folder)
    except RegisterError as error:
        return [Finding("error", where, str(error))]
    faults = file_mismatches(receipt, adapter.sha256, model_id, register.kind) if model is None else []
    if adapter.zero:
        faults.append("it changes nothing: one half of every module is all zeros; train it")
    found = [Finding("error", where, fault) for fault in faults]
    if receipt.data_sha256 != _sha256_or_none(register.folder / EXAMPLES_FILE):
        found.append(Finding("warning", where, f"{EXAMPLES_FILE} has changed since it was trained; train it again"))
    return found


def _sha256_or_none(path: Path) -> str | None:
    from scenepipe.models.store import sha256_file

    return sha256_file(path) if path.is_file() else None


# --- files -----------------------------------------------------------------------------------------------------------


def _outside(folder: Path, given: str) -> str | None:
    """Why a path is refused, None where it stays inside the folder after every link is followed."""
    if "\0" in given or os.path.isabs(given):
        return f"{given!r} must be a path inside {folder}, relative to it"
    home, real = os.path.realpath(folder), os.path.realpath(folder / given)
    if os.path.commonpath([home, real]) != home or real == home:
        return f"'{given}' leads to {real}, outside {home}; adapters lie inside the register's folder"
    return None


def _read_yaml(path: Path) -> Mapping[str, Any]:
    text = read_text(path, LARGEST_CARD)
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RegisterError(
            f"{path} is not YAML: {str(error).splitlines()[0] if str(error) else 'nested too deep'}"
        ) from None
    if not isinstance(data, dict):
        raise _card_error(path, [f"a mapping that starts with 'register: 1' is needed, it is {type(data).__name__}"])
    return data


def _card_error(path: Path, faults: Sequence[str]) -> RegisterError:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return RegisterError("\n".join([f"{count} in {path}", *(f"  {fault}" for fault in faults)]))
