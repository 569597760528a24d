"""A model's own vocabulary: from its GGUF to a SentencePiece ``.model``, and the small facts others need.

The ``.model`` gives the ids of llama.cpp for every text (``tokenizer.ggml.model: llama``, which is SentencePiece BPE
with byte fallback), except where a text holds U+2581, the escaped space itself, next to a space or another one:
SentencePiece cannot tell them apart there, llama.cpp can.

Its bytes are written here as protobuf wire format (sentencepiece_model.proto): the generated class of the
``sentencepiece`` package cannot be imported in one process with that of ``transformers`` ("duplicate file name
sentencepiece_model.proto"), and refuses every protobuf runtime older than the one it was generated with.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from scenepipe.errors import ModelError
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.gguf_header import GGUFHeader, read_header
from scenepipe.models.store import derived_dir, write_atomic

FACTS_VERSION = 1
FACTS_FILE = "facts.json"
TOKENIZER_FILE = "tokenizer.model"
SPACE = "\u2581".encode()
_UNKNOWN, _USER_DEFINED = 2, 4
_BPE = 2


class ModelFacts(BaseModel):
    """What a model is, read once from its GGUF.

    Args:
        architecture: ``general.architecture``, as llama.cpp names it (``gemma3``, ``llama``).
        blocks, embedding, heads, kv_heads, head_size, context: sizes; ``head_size`` is of queries and keys.
        bos, eos: token ids, None where the vocabulary has none.
        add_bos: whether the model expects ``bos`` before a text.
        chat_template: whether it carries one.
        vocabulary: number of tokens.
        tokenizer_kind: ``llama`` (SentencePiece), ``gpt2`` (byte-level BPE), …
        tokenizer_sha256: hash over tokens, scores (merges for byte-level BPE) and types.
        shapes: ``(out, in)`` by tensor name, for the tensors with two dimensions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    facts: int = FACTS_VERSION
    architecture: str
    blocks: int
    embedding: int
    heads: int
    kv_heads: int
    head_size: int
    context: int
    bos: int | None
    eos: int | None
    add_bos: bool
    chat_template: bool
    vocabulary: int
    tokenizer_kind: str
    tokenizer_sha256: str
    shapes: dict[str, tuple[int, int]]


def facts(model: LocalModel) -> ModelFacts:
    """The facts of a model on disk; the cached ones where there are any, else from its GGUF (0.2 s).

    Raises:
        ModelError: the GGUF cannot be read.
    """
    return load_facts(model.sha256) or facts_of(read_header(model.gguf))


def load_facts(sha256: str) -> ModelFacts | None:
    """Cached facts of a weights file, None where they are absent, of another version or damaged."""
    try:
        found = ModelFacts.model_validate_json((derived_dir(sha256) / FACTS_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    complete = found.tokenizer_kind != "llama" or tokenizer_path(sha256).is_file()
    return found if found.facts == FACTS_VERSION and complete else None


def tokenizer_path(sha256: str) -> Path:
    """Where the SentencePiece model of a weights file is cached."""
    return derived_dir(sha256) / TOKENIZER_FILE


def prepare(gguf: Path, sha256: str) -> ModelFacts:
    """Read a GGUF once and cache its facts and, where it is a SentencePiece one, its vocabulary.

    Raises:
        ModelError: the GGUF cannot be read, or its vocabulary is not one that SentencePiece can hold.
    """
    header = read_header(gguf)
    found = facts_of(header)
    if found.tokenizer_kind == "llama":
        write_atomic(tokenizer_path(sha256), sentencepiece_model(header))
    write_atomic(derived_dir(sha256) / FACTS_FILE, found.model_dump_json(indent=1).encode())
    return found


def facts_of(header: GGUFHeader) -> ModelFacts:
    """Facts from a header.

    Raises:
        ModelError: a key that every language model has is missing.
    """
    data, arch = header.metadata, header.text("general.architecture")
    try:
        heads, embedding = _first(data[f"{arch}.attention.head_count"]), data[f"{arch}.embedding_length"]
        return ModelFacts(
            architecture=arch,
            blocks=data[f"{arch}.block_count"],
            embedding=embedding,
            heads=heads,
            kv_heads=_first(data.get(f"{arch}.attention.head_count_kv", heads)),
            head_size=data.get(f"{arch}.attention.key_length", embedding // heads),
            context=data[f"{arch}.context_length"],
            bos=data.get("tokenizer.ggml.bos_token_id"),
            eos=data.get("tokenizer.ggml.eos_token_id"),
            add_bos=data.get("tokenizer.ggml.add_bos_token", header.text("tokenizer.ggml.model") == "llama"),
            chat_template="tokenizer.chat_template" in data,
            vocabulary=len(data["tokenizer.ggml.tokens"]),
            tokenizer_kind=header.text("tokenizer.ggml.model"),
            tokenizer_sha256=tokenizer_sha256(header),
            shapes={name: (s[0], s[1]) for name, s in header.tensors.items() if len(s) == 2},
        )
    except (KeyError, ZeroDivisionError, ValidationError) as error:
        raise ModelError(f"this GGUF is not a language model: {error} is missing or wrong in its header") from None


def tokenizer_sha256(header: GGUFHeader) -> str:
    """Hash of a vocabulary: tokens, types, and what orders the merges (scores, or the list of merges)."""
    data, digest = header.metadata, hashlib.sha256()
    for key in ("tokens", "merges"):
        for item in data.get(f"tokenizer.ggml.{key}", ()):
            digest.update(struct.pack("<I", len(item)) + item)
        digest.update(b"\xff")
    digest.update(np.asarray(data.get("tokenizer.ggml.scores", ()), "<f4").tobytes() + b"\xff")
    digest.update(np.asarray(data.get("tokenizer.ggml.token_type", ()), "<i4").tobytes())
    return digest.hexdigest()


def sentencepiece_model(header: GGUFHeader) -> bytes:
    """The vocabulary as the bytes of a SentencePiece ``.model`` of type BPE, without text normalisation.

    Raises:
        ModelError: tokens, scores and types do not fit together.
    """
    data = header.metadata
    tokens: list[bytes] = data.get("tokenizer.ggml.tokens", [])
    scores = np.asarray(data.get("tokenizer.ggml.scores", ()), np.float32).tolist()
    kinds = np.asarray(data.get("tokenizer.ggml.token_type", ()), np.int32).tolist()
    if not tokens or not len(tokens) == len(scores) == len(kinds):
        raise ModelError(
            f"the vocabulary has {len(tokens)} tokens, {len(scores)} scores, {len(kinds)} types; they must agree"
        )
    surfaces = _unique(tokens, kinds)
    unknown = data.get("tokenizer.ggml.unknown_token_id", -1)
    if 0 <= unknown < len(kinds):  # SentencePiece wants one piece of this type; Gemma's GGUFs call it a control piece
        kinds[unknown] = _UNKNOWN
    pieces = [_field(1, _piece(t, s, k)) for t, s, k in zip(surfaces, scores, kinds, strict=True)]
    return b"".join(pieces) + _field(2, _trainer_spec(data, tokens)) + _field(3, _normalizer_spec(data))


def _unique(tokens: list[bytes], kinds: list[int]) -> list[bytes]:
    """Surfaces that SentencePiece takes: spaces as U+2581, none empty, none twice, none with a NUL.

    llama.cpp looks a doubled surface up under its last id. The others get a name that no merge can spell.
    """
    surfaces = [t.replace(b" ", SPACE) if k == _USER_DEFINED else t for t, k in zip(tokens, kinds, strict=True)]
    last = {surface: number for number, surface in enumerate(surfaces)}
    usable = [bool(s) and last[s] == n and b"\0" not in s for n, s in enumerate(surfaces)]
    return [
        s if fine else f"\ufdd0{n}\ufdd0".encode() for n, (s, fine) in enumerate(zip(surfaces, usable, strict=True))
    ]


def _trainer_spec(data: dict[str, Any], tokens: list[bytes]) -> bytes:
    """Model type BPE, byte fallback, size, and the special ids with their surfaces."""
    spec = _integer(3, _BPE) + _integer(4, len(tokens)) + _integer(35, 1)
    places = (("unknown", 40, 45, 0), ("bos", 41, 46, -1), ("eos", 42, 47, -1), ("padding", 43, 48, -1))
    for name, id_field, piece_field, missing in places:
        number = data.get(f"tokenizer.ggml.{name}_token_id", missing)
        if not 0 <= number < len(tokens):
            spec += _integer(id_field, -1)
            continue
        spec += _integer(id_field, number) + _field(piece_field, tokens[number])
    return spec


def _normalizer_spec(data: dict[str, Any]) -> bytes:
    """Identity: no dummy prefix unless the model wants one, white space kept, spaces escaped as U+2581."""
    prefix = int(bool(data.get("tokenizer.ggml.add_space_prefix", True)))
    return _field(1, b"identity") + _integer(3, prefix) + _integer(4, 0) + _integer(5, 1)


def _piece(surface: bytes, score: float, kind: int) -> bytes:
    return _field(1, surface) + b"\x15" + struct.pack("<f", score) + _integer(3, kind)


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value & 0xFFFFFFFFFFFFFFFF)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes((value,))


def _first(value: Any) -> int:
    """Head counts may be given per block; the first stands for all."""
    return int(value[0]) if isinstance(value, list | np.ndarray) else int(value)
