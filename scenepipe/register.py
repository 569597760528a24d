"""A register: a folder of data (card, examples, adapters) loaded and checked. No code is ever loaded from it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenepipe.errors import RegisterError, did_you_mean
from scenepipe.mixture import REGISTER_NAME
from scenepipe.prompt import PROMPT_VERSION

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel

CARD_FILE = "register.yaml"
EXAMPLES_FILE = "examples.jsonl"
RECEIPT_FILE = "receipt.json"
LARGEST_CARD = 1 << 20
LARGEST_EXAMPLES = 64 << 20
LANGUAGES = ("ru", "en")
_MOST_FAULTS = 50


@dataclass(frozen=True)
class Register:
    """One voice.

    Args:
        name: its name in YAML and mixtures.
        folder: where it lives.
        titles, description: by language (``ru``, ``en``).
        symbol: one character for bars and formulas.
        emoji: one emoji.
        licence: SPDX id or name of the licence of its texts.
        adapters: adapter folder by base model id, inside ``folder``.
    """

    name: str
    folder: Path
    titles: dict[str, str]
    description: dict[str, str]
    symbol: str
    emoji: str
    licence: str
    adapters: dict[str, Path]


@dataclass(frozen=True)
class AdapterFolder:
    """A register's adapter for one model, with what its receipt proves.

    Args:
        folder: the PEFT folder.
        sha256: hash of its weights file, the one that the receipt names.
        receipt: the whole receipt.
    """

    folder: Path
    sha256: str
    receipt: AdapterMade


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Text = Annotated[str, Field(min_length=1, max_length=4000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Card(_Data):
    register_: Annotated[Literal[1], Field(alias="register")]
    name: Annotated[str, Field(pattern=f"^{REGISTER_NAME.pattern}$")]
    titles: dict[Literal["ru", "en"], Text]
    description: dict[Literal["ru", "en"], Text]
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


class BaseMade(_Data):
    sha256: Sha256
    tokenizer_sha256: Sha256


class AdapterMade(_Data):
    """``receipt.json``: what an adapter was made from. ``training`` and ``figures`` are free."""

    receipt: Literal[1]
    model: str
    prompt_version: int
    base: BaseMade
    adapter_sha256: Sha256
    data_sha256: Sha256
    training: dict[str, Any] = {}
    figures: dict[str, Any] = {}


# --- load --------------------------------------------------------------------------------------------------------------


def load_register(folder: Path) -> Register:
    """Read a register's card. Examples and adapters are read when they are asked for.

    Raises:
        RegisterError: no card, or a card with faults; names all of them.
    """
    path = folder / CARD_FILE
    data = _read_yaml(path)
    faults = []
    try:
        card = _Card.model_validate(data)
    except ValidationError as error:
        raise _card_error(path, _messages(error)) from None
    if card.name != folder.resolve().name:
        faults.append(f"name: it is '{card.name}' and the folder is '{folder.resolve().name}'; they must be the same")
    for field in ("titles", "description"):
        missing = [language for language in LANGUAGES if language not in getattr(card, field)]
        faults += [f"{field}.{language}: missing; Russian and English are both needed" for language in missing]
    adapters = {model: folder / relative for model, relative in card.adapters.items()}
    faults += [f"adapters.{m}: {why}" for m, at in adapters.items() if (why := _outside(folder, at, card.adapters[m]))]
    if faults:
        raise _card_error(path, faults)
    return Register(
        name=card.name,
        folder=folder,
        titles={**card.titles},
        description={**card.description},
        symbol=card.symbol,
        emoji=card.emoji,
        licence=card.licence,
        adapters=adapters,
    )


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
    """The register's rows, in the order of the file; empty lines are skipped.

    Raises:
        RegisterError: no file, or rows with faults; names all of them by line (the first 50).
    """
    path = register.folder / EXAMPLES_FILE
    rows, faults = [], []
    for number, line in enumerate(_read_text(path, LARGEST_EXAMPLES).split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(Example.model_validate_json(line))
        except ValidationError as error:
            faults += [f"  {path.name}:{number}: {message}" for message in _messages(error)]
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
            f"register '{register.name}' has no adapter for model '{model.id}'; {did_you_mean(model.id, register.adapters)}"
        )
    if why := _outside(register.folder, folder, str(folder)):
        raise RegisterError(f"register '{register.name}': {why}")
    if not folder.is_dir():
        raise RegisterError(
            f"register '{register.name}': {folder} does not exist; train it, or take it out of {CARD_FILE}"
        )
    receipt = read_receipt(folder)
    sha256 = adapter_sha256(folder)
    if faults := _receipt_faults(receipt, sha256, model):
        raise RegisterError(
            f"register '{register.name}', adapter for '{model.id}':\n" + "\n".join(f"  {f}" for f in faults)
        )
    return AdapterFolder(folder, sha256, receipt)


def read_receipt(folder: Path) -> AdapterMade:
    """The receipt of an adapter folder.

    Raises:
        RegisterError: missing, a link, or with faults; names all of them.
    """
    path = folder / RECEIPT_FILE
    try:
        return AdapterMade.model_validate_json(_read_text(path, LARGEST_CARD))
    except ValidationError as error:
        raise RegisterError("\n".join([f"{path} is not a receipt:", *(f"  {m}" for m in _messages(error))])) from None


def _receipt_faults(receipt: AdapterMade, sha256: str, model: LocalModel) -> list[str]:
    out = []
    if receipt.adapter_sha256 != sha256:
        out.append(
            f"its weights have SHA-256 {sha256[:12]}…, the receipt says {receipt.adapter_sha256[:12]}…: "
            "the file was changed after training; fetch or train it again"
        )
    if receipt.model != model.id or receipt.base.sha256 != model.sha256:
        out.append(
            f"it was trained on '{receipt.model}' ({receipt.base.sha256[:12]}…), "
            f"the model here is '{model.id}' ({model.sha256[:12]}…): another base"
        )
    if receipt.base.tokenizer_sha256 != model.tokenizer_sha256:
        out.append(
            f"it was trained with vocabulary {receipt.base.tokenizer_sha256[:12]}…, "
            f"the model here has {model.tokenizer_sha256[:12]}…: another tokenizer"
        )
    if receipt.prompt_version != PROMPT_VERSION:
        out.append(
            f"it was trained on scene prompt version {receipt.prompt_version}, this is version {PROMPT_VERSION}; "
            "train it again"
        )
    return out


# --- files -------------------------------------------------------------------------------------------------------------


def _outside(folder: Path, path: Path, given: str) -> str | None:
    """Why a path is refused, None where it stays inside the folder after every link is followed."""
    home, real = os.path.realpath(folder), os.path.realpath(path)
    if os.path.isabs(given) and given != str(path):
        return f"'{given}' is an absolute path; give one inside {folder}"
    if os.path.commonpath([home, real]) != home or real == home:
        return f"'{given}' leads to {real}, outside {home}; adapters lie inside the register's folder"
    return None


def _read_yaml(path: Path) -> Mapping[str, Any]:
    text = _read_text(path, LARGEST_CARD)
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RegisterError(
            f"{path} is not YAML: {str(error).splitlines()[0] if str(error) else 'nested too deep'}"
        ) from None
    if not isinstance(data, dict):
        raise _card_error(path, [f"a mapping that starts with 'register: 1' is needed, it is {type(data).__name__}"])
    return data


def _read_text(path: Path, limit: int) -> str:
    if path.is_symlink() or not path.is_file():
        state = "is a symbolic link; put the file itself there" if path.is_symlink() else "does not exist"
        raise RegisterError(f"{path} {state}")
    if path.stat().st_size > limit:
        raise RegisterError(f"{path} has {path.stat().st_size} bytes; at most {limit} are read")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RegisterError(f"{path} is not UTF-8 text: byte {error.start}") from None


def _card_error(path: Path, faults: Sequence[str]) -> RegisterError:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return RegisterError("\n".join([f"{count} in {path}", *(f"  {fault}" for fault in faults)]))


def _messages(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors(include_input=False)]
