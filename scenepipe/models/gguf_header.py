"""Read the header of a GGUF file: its metadata and the shapes of its tensors, not their weights.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. ``gguf.GGUFReader`` keeps four NumPy views per
string; for a vocabulary of 262,144 pieces that takes 11 s where this takes under 1 s, measured side by side.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scenepipe.errors import ModelError

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?"}
_SCALARS |= {10: "<u8", 11: "<i8", 12: "<f8"}
_MOST_ITEMS = 10_000_000
_DEEPEST_ARRAY = 4


@dataclass(frozen=True)
class GGUFHeader:
    """What the header says.

    Args:
        metadata: value by key; arrays of numbers are NumPy arrays, arrays of strings are lists of bytes.
        tensors: shape by tensor name, in NumPy order (rows first): a linear layer is ``(out, in)``.
    """

    metadata: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]

    def text(self, key: str, default: str = "") -> str:
        value = self.metadata.get(key, default)
        return value if isinstance(value, str) else default


def is_gguf(path: Path) -> bool:
    """Whether a regular file starts with the GGUF magic."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def read_header(path: Path) -> GGUFHeader:
    """Read metadata and tensor shapes.

    Raises:
        ModelError: the file is not a GGUF of version 2 or 3, is cut short, or says something impossible.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Cursor(data).header()
    except (struct.error, ValueError, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not a readable GGUF file ({error}); fetch it again") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


class _Cursor:
    """A place in the file that moves on as values are read."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def header(self) -> GGUFHeader:
        if self._bytes(4) != MAGIC:
            raise ValueError("it does not start with GGUF")
        version, tensors, pairs = self._unpack("<IQQ")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version}; 2 and 3 are known")
        if max(tensors, pairs) > _MOST_ITEMS:
            raise ValueError(f"it announces {tensors} tensors and {pairs} metadata pairs")
        metadata = {}
        for _ in range(pairs):
            key = self._string().decode()
            metadata[key] = self._value(self._unpack("<I")[0])
        return GGUFHeader(metadata, dict(self._tensor() for _ in range(tensors)))

    def _tensor(self) -> tuple[str, tuple[int, ...]]:
        name = self._string().decode()
        (dimensions,) = self._unpack("<I")
        if dimensions > 8:
            raise ValueError(f"tensor {name} announces {dimensions} dimensions")
        shape = self._unpack(f"<{dimensions}Q")
        self._unpack("<IQ")
        return name, tuple(reversed(shape))

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self._string().decode("utf-8", "replace")
        if kind == _ARRAY:
            return self._array(depth + 1)
        if kind not in _SCALARS:
            raise ValueError(f"value type {kind} is unknown")
        return self._numbers(kind, 1)[0].item()

    def _array(self, depth: int) -> Any:
        kind, count = self._unpack("<IQ")
        if count > _MOST_ITEMS or depth > _DEEPEST_ARRAY:
            raise ValueError(f"an array announces {count} items at depth {depth}")
        if kind == _STRING:
            return self._strings(count)
        if kind == _ARRAY:
            return [self._array(depth + 1) for _ in range(count)]
        if kind not in _SCALARS:
            raise ValueError(f"array type {kind} is unknown")
        return self._numbers(kind, count)

    def _numbers(self, kind: int, count: int) -> np.ndarray[Any, Any]:
        dtype = np.dtype(_SCALARS[kind])
        return np.frombuffer(self._bytes(count * dtype.itemsize), dtype)

    def _strings(self, count: int) -> list[bytes]:
        data, at, size, unpack = self.data, self.at, len(self.data), struct.Struct("<Q").unpack_from
        out = []
        for _ in range(count):
            end = at + 8 + unpack(data, at)[0]
            if end > size:
                raise ValueError("a string reaches past the end of the file")
            out.append(data[at + 8 : end])
            at = end
        self.at = at
        return out

    def _string(self) -> bytes:
        return self._bytes(self._unpack("<Q")[0])

    def _unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))

    def _bytes(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise ValueError("it is cut short")
        self.at += count
        return piece
