"""Arrays are made once and kept; a cache that cannot be read or written costs time, never a result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scenepipe.encoders.cache import Arrays, kept


def once(value: float) -> Callable[[], Arrays]:
    """Makes an array the first time and fails the second."""
    calls = iter([{"a": np.array([value])}])
    return lambda: next(calls)


def fits(arrays: Arrays) -> bool:
    return bool(arrays["a"].shape == (1,))


def test_made_once_and_read_afterwards(tmp_path: Path) -> None:
    make = once(1.0)
    assert kept(tmp_path / "c", ["x", "y"], make=make, fits=fits)["a"] == 1.0
    assert kept(tmp_path / "c", ["x", "y"], make=make, fits=fits)["a"] == 1.0
    assert [file.suffix for file in (tmp_path / "c").iterdir()] == [".safetensors"]


def test_another_key_is_made_anew(tmp_path: Path) -> None:
    for number, key in enumerate((["x", "y"], ["xy"], ["y", "x"])):
        assert kept(tmp_path, key, make=once(float(number)), fits=fits)["a"] == number


@pytest.mark.parametrize("damage", [b"", b"broken", b"\xff" * 4000])
def test_a_broken_file_is_made_again(tmp_path: Path, damage: bytes) -> None:
    kept(tmp_path, ["x"], make=once(1.0), fits=fits)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert kept(tmp_path, ["x"], make=once(2.0), fits=fits)["a"] == 2.0
    assert kept(tmp_path, ["x"], make=once(3.0), fits=fits)["a"] == 2.0


def test_what_does_not_fit_is_made_again(tmp_path: Path) -> None:
    kept(tmp_path, ["x"], make=lambda: {"a": np.zeros(2)}, fits=fits)
    assert kept(tmp_path, ["x"], make=once(2.0), fits=fits)["a"] == 2.0


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert kept(tmp_path / "file", ["x"], make=once(2.0), fits=fits)["a"] == 2.0
