from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenepipe.errors import ModelError
from scenepipe.models.gguf_header import is_gguf, read_header


def test_it_reads_what_the_gguf_package_reads(tiny_gguf: Callable[..., Path]) -> None:
    path = tiny_gguf()
    header, reader = read_header(path), gguf.GGUFReader(path)
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        value, expected = header.metadata[key], field.contents()
        if isinstance(expected, list):
            found = [v.decode() if isinstance(v, bytes) else v for v in value]
            assert found == pytest.approx(expected) if isinstance(expected[0], float) else found == expected
        else:
            assert value == expected
    assert {t.name: tuple(int(n) for n in reversed(t.shape)) for t in reader.tensors} == header.tensors


def test_every_type_of_value(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "llama")
    writer.add_uint8("u8", 255)
    writer.add_int16("i16", -3)
    writer.add_uint64("u64", 2**63)
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_string("text", "шаг")
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("words", ["а", "b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = read_header(tmp_path / "v.gguf").metadata
    assert np.array_equal(found.pop("numbers"), [1, 2, 3])
    assert found == {
        "general.architecture": "llama",
        "u8": 255,
        "i16": -3,
        "u64": 2**63,
        "f64": 0.1,
        "yes": True,
        "text": "шаг",
        "words": ["а".encode(), b"b"],
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_an_error_of_ours(
    tiny_gguf: Callable[..., Path], tmp_path: Path, data: st.DataObject
) -> None:
    whole = (tmp_path / "tiny.gguf").read_bytes() if (tmp_path / "tiny.gguf").exists() else tiny_gguf().read_bytes()
    bytes_ = bytearray(whole[: data.draw(st.integers(1, 9000))])
    for _ in range(data.draw(st.integers(0, 4))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.gguf"
    path.write_bytes(bytes_)
    try:
        read_header(path)
    except ModelError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a readable GGUF"),
        (b"PK\3\4" + bytes(40), "does not start with GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 99, 0, 0), "GGUF version 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "announces 1152921504606846976 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5), "cut short"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**40), "announces"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=said):
        read_header(path)


def test_only_a_regular_file_with_the_magic_is_a_gguf(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    assert is_gguf(tiny_gguf())
    assert not is_gguf(tmp_path)
    assert not is_gguf(tmp_path / "absent.gguf")
