"""The receipt of an adapter: what it was made from, and whether that is what is here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenepipe.errors import RegisterError
from scenepipe.prompt import PROMPT_VERSION
from scenepipe.scene_prompt import SCENE_PROMPT_VERSION

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel

RECEIPT_FILE = "receipt.json"
LARGEST_RECEIPT = 1 << 20
PROMPT_VERSIONS = {"voice": PROMPT_VERSION, "scene": SCENE_PROMPT_VERSION}
"""By kind of register: the version of what its adapter is asked with."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseMade(_Data):
    sha256: Sha256
    tokenizer_sha256: Sha256


class AdapterMade(_Data):
    """``receipt.json``: what an adapter was made from. ``training`` and ``figures`` are free.

    ``prompt_version`` is of the scene prompt for a voice, of the scene request for a reader of scenes.
    """

    receipt: Literal[1]
    model: str
    kind: Literal["voice", "scene"] = "voice"
    prompt_version: int
    base: BaseMade
    adapter_sha256: Sha256
    data_sha256: Sha256
    training: dict[str, Any] = {}
    figures: dict[str, Any] = {}


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


def read_receipt(folder: Path) -> AdapterMade:
    """The receipt of an adapter folder.

    Raises:
        RegisterError: missing, a link, or with faults; names all of them.
    """
    path = folder / RECEIPT_FILE
    try:
        return AdapterMade.model_validate_json(read_text(path, LARGEST_RECEIPT))
    except ValidationError as error:
        raise RegisterError("\n".join([f"{path} is not a receipt:", *(f"  {m}" for m in messages(error))])) from None


def mismatches(receipt: AdapterMade, sha256: str, model: LocalModel, kind: str = "voice") -> list[str]:
    """Every way in which an adapter is not for this model, or not the file that was trained; empty when it fits."""
    out = file_mismatches(receipt, sha256, model.id, kind)
    if receipt.base.sha256 != model.sha256:
        out.append(
            f"it was trained on weights {receipt.base.sha256[:12]}…, "
            f"the model here has {model.sha256[:12]}…: another base model"
        )
    if receipt.base.tokenizer_sha256 != model.tokenizer_sha256:
        out.append(
            f"it was trained with vocabulary {receipt.base.tokenizer_sha256[:12]}…, "
            f"the model here has {model.tokenizer_sha256[:12]}…: another tokenizer"
        )
    return out


def file_mismatches(receipt: AdapterMade, sha256: str, model_id: str, kind: str = "voice") -> list[str]:
    """What can be said without the model: the file's own hash, the model's name, the card's kind, the prompt's version."""
    out = []
    if receipt.adapter_sha256 != sha256:
        out.append(
            f"its weights have SHA-256 {sha256[:12]}…, the receipt says {receipt.adapter_sha256[:12]}…: "
            "the file was changed after training; fetch or train it again"
        )
    if receipt.model != model_id:
        out.append(f"it was trained on '{receipt.model}' and the card gives it to '{model_id}': another base model")
    if receipt.kind != kind:
        out.append(f"it was trained as kind '{receipt.kind}' and the card says '{kind}'; train it again")
    elif receipt.prompt_version != (version := PROMPT_VERSIONS[receipt.kind]):
        out.append(
            f"it was trained on {'scene prompt' if kind == 'voice' else 'scene request'} version "
            f"{receipt.prompt_version}, this is version {version}; train it again"
        )
    return out


def read_text(path: Path, limit: int) -> str:
    """A plain UTF-8 file of at most ``limit`` bytes.

    Raises:
        RegisterError: missing, a link, too large, or not UTF-8.
    """
    if path.is_symlink() or not path.is_file():
        state = "is a symbolic link; put the file itself there" if path.is_symlink() else "does not exist"
        raise RegisterError(f"{path} {state}")
    if path.stat().st_size > limit:
        raise RegisterError(f"{path} has {path.stat().st_size} bytes; at most {limit} are read")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RegisterError(f"{path} is not UTF-8 text: byte {error.start}") from None


def messages(error: ValidationError) -> list[str]:
    """Each fault with its place; what was given is not repeated, it may be large."""
    return [f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors(include_input=False)]
