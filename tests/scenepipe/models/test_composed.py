"""Composed adapters on disk: exact, safe between processes, repaired when damaged, never half."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenepipe.errors import ConfigError, MixtureError, RegisterError
from scenepipe.mixture import Mixture, of, parse
from scenepipe.models import composed as module
from scenepipe.models import composed_files
from scenepipe.models.adapter import WEIGHTS_FILE, load_adapter
from scenepipe.models.composed import ComposedAdapters
from scenepipe.models.composed_files import MANIFEST_FILE
from scenepipe.models.composed_use import hold, unheld

PATTERNS = {"rank_pattern": {"k_proj": 2}, "alpha_pattern": {"up_proj": 3}, "use_rslora": True}
Parts = dict[str, Path]


@pytest.fixture
def parts(adapter_folder: Callable[..., Path]) -> Parts:
    """Three adapters: plain, with every way to scale, and one more."""
    return {
        "poet": adapter_folder("poet", seed=1),
        "logician": adapter_folder("logician", seed=2, ranks={"model.layers.0.self_attn.k_proj": 2}, **PATTERNS),
        "sailor": adapter_folder("sailor", seed=3),
    }


@pytest.fixture
def store(tmp_path: Path) -> ComposedAdapters:
    return ComposedAdapters(tmp_path / "composed")


def entries(store: ComposedAdapters) -> set[str]:
    return {entry.name for entry in store.folder.iterdir() if entry.name != ".lock"}


# --- what is in it ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    weights=st.dictionaries(
        st.sampled_from(["poet", "logician", "sailor"]), st.floats(0.001, 0.33), min_size=1, max_size=3
    )
)
def test_its_update_is_the_weighted_sum_of_the_parts(
    weights: dict[str, float], parts: Parts, store: ComposedAdapters
) -> None:
    made = store.of(of(weights), parts)
    read, single = load_adapter(made.folder), {name: load_adapter(parts[name]) for name in weights}
    for name, pair in read.modules.items():
        whole = sum(np.float64(w) * single[n].modules[name].delta.astype(np.float64) for n, w in weights.items())
        assert np.abs(pair.delta - whole).max() <= 1e-5 * max(1.0, np.abs(whole).max())
        assert pair.rank == made.rank


def test_it_is_an_ordinary_peft_folder_with_folded_scaling(parts: Parts, store: ComposedAdapters) -> None:
    made = store.of(parse("poet@0.6+logician@0.4"), parts)
    config = json.loads((made.folder / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == made.rank == 8
    assert config["use_rslora"] is False
    assert config["target_modules"] == ["k_proj", "q_proj", "up_proj"]
    assert made.sha256 == load_adapter(made.folder).sha256


@pytest.mark.parametrize(("max_rank", "rank"), [(None, 16), (16, 16), (12, 12), (64, 16)])
def test_the_rank_is_padded_to_one_that_engines_allow(
    max_rank: int | None, rank: int, parts: Parts, tmp_path: Path
) -> None:
    made = ComposedAdapters(tmp_path / "c", max_rank=max_rank).of(parse("poet@0.3+logician@0.3+sailor@0.3"), parts)
    assert made.rank == rank
    assert {pair.rank for pair in load_adapter(made.folder).modules.values()} == {rank}


def test_a_rank_above_the_engines_is_refused_with_the_remedy(parts: Parts, tmp_path: Path) -> None:
    small = ComposedAdapters(tmp_path / "c", max_rank=8)
    with pytest.raises(MixtureError, match=r"rank 12.*at most 8; raise") as told:
        small.of(parse("poet@0.3+logician@0.3+sailor@0.3"), parts)
    assert "poet@0.3" in str(told.value)
    assert not entries(small)


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_stands_for_one_mixture_of_the_same_bytes(parts: Parts, store: ComposedAdapters) -> None:
    first = store.of(parse("poet@0.6+logician@0.4"), parts)
    assert first.name.startswith("poet-0.6_logician-0.4-")
    again = ComposedAdapters(store.folder).of(parse("logician@0.4+poet@0.6"), parts)
    assert again == first
    near = store.of(Mixture(weights={"poet": 0.6 + 1e-9, "logician": 0.4 - 1e-9}), parts)
    assert near.name != first.name


@pytest.mark.parametrize("file", [WEIGHTS_FILE, "adapter_config.json"])
def test_another_version_of_a_part_is_another_adapter(
    file: str, parts: Parts, store: ComposedAdapters, adapter_folder: Callable[..., Path]
) -> None:
    first = store.of(parse("poet"), parts)
    newer = adapter_folder("newer", seed=9, lora_alpha=16)
    (newer / file).replace(parts["poet"] / file)
    second = store.of(parse("poet"), parts)
    assert second.name != first.name
    assert second.sha256 != first.sha256


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.from_regex(r"[a-z][a-z0-9_-]{0,63}", fullmatch=True), min_size=1, max_size=4, unique=True))
def test_any_register_name_is_a_plain_name_inside_the_folder(
    names: list[str], parts: Parts, store: ComposedAdapters
) -> None:
    made = store.of(of(dict.fromkeys(names, 0.25)), dict.fromkeys(names, parts["poet"]))
    assert made.folder.parent == store.folder
    assert made.folder.resolve().parent == store.folder.resolve()
    assert len(made.name) <= 110
    assert set(made.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")


def test_names_that_are_not_a_registers_never_reach_the_disk(parts: Parts, store: ComposedAdapters) -> None:
    for name in ("../poet", "/etc", "a/b", "po\0et", "..", "Poet"):
        hostile = Mixture.model_construct(weights={name: 0.5}, reasons={})
        with pytest.raises(MixtureError, match="not open"):
            store.of(hostile, parts)
        made = store.of(hostile, {name: parts["poet"]})
        assert made.folder.resolve().parent == store.folder.resolve()


def test_the_base_and_unknown_registers_are_refused(parts: Parts, store: ComposedAdapters) -> None:
    for base in (Mixture(), of({"poet": 0.0})):
        with pytest.raises(MixtureError, match="needs no adapter"):
            store.of(base, parts)
    with pytest.raises(MixtureError, match=r"'pot' is not open; did you mean 'poet'"):
        store.of(parse("pot"), parts)


def test_the_adapter_of_the_base_changes_nothing(parts: Parts, store: ComposedAdapters) -> None:
    made = store.base(parts)
    read = load_adapter(made.folder)
    assert read.zero
    assert read.modules.keys() == load_adapter(parts["poet"]).modules.keys()
    assert (made.name[:5], made.rank) == ("base-", 8)
    assert store.base(dict(reversed(parts.items()))) is made
    with pytest.raises(MixtureError, match="without any register"):
        store.base({})


def test_options_below_one_are_refused_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)most.*max_rank"):
        ComposedAdapters(tmp_path, most=0, max_rank=0)


def test_a_part_that_is_a_link_is_refused(parts: Parts, store: ComposedAdapters, tmp_path: Path) -> None:
    real = parts["poet"] / WEIGHTS_FILE
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RegisterError, match="symbolic link"):
        store.of(parse("poet"), parts)


# --- damage -----------------------------------------------------------------------------------------------------------


def _flip(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)


def _cut(folder: Path) -> None:
    os.truncate(folder / WEIGHTS_FILE, 100)


def _no_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()


def _other_alpha(folder: Path) -> None:
    path = folder / "adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": 8', '"lora_alpha": 80'))


def _manifest_is(text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / MANIFEST_FILE).write_text(text)

    return damage


def _pickle_beside(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n")


def _linked_file(folder: Path) -> None:
    (folder / WEIGHTS_FILE).rename(folder.parent.parent / "moved")
    (folder / WEIGHTS_FILE).symlink_to(folder.parent.parent / "moved")


def _linked_folder(folder: Path) -> None:
    folder.rename(folder.parent.parent / "moved")
    folder.symlink_to(folder.parent.parent / "moved")


DAMAGES = [
    _flip,
    _cut,
    _no_weights,
    _other_alpha,
    _manifest_is("{"),
    _manifest_is("[" * 100_000),
    _manifest_is('{"format": 1, "rank": "8", "files": {}}'),
    _manifest_is('{"format": 0}'),
    _pickle_beside,
    _linked_file,
    _linked_folder,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=range(len(DAMAGES)))
@pytest.mark.parametrize("fresh", [True, False], ids=["other process", "same process"])
def test_a_damaged_entry_is_made_again(
    damage: Callable[[Path], None], fresh: bool, parts: Parts, store: ComposedAdapters
) -> None:
    made = store.of(parse("poet@0.5"), parts)
    whole = (made.folder / WEIGHTS_FILE).read_bytes()
    damage(made.folder)
    asked = ComposedAdapters(store.folder) if fresh else store
    if not fresh:
        del made  # nobody holds it; what is held is looked at by the times of weights and config
        gc.collect()
    again = asked.of(parse("poet@0.5"), parts)
    assert (again.folder / WEIGHTS_FILE).read_bytes() == whole
    assert not again.folder.is_symlink()
    assert {entry.name for entry in again.folder.iterdir()} == {WEIGHTS_FILE, "adapter_config.json", MANIFEST_FILE}
    assert load_adapter(again.folder).sha256 == again.sha256


@pytest.mark.parametrize("damage", [_flip, _cut, _no_weights, _other_alpha])
def test_damage_to_one_in_use_is_seen_at_the_next_use(
    damage: Callable[[Path], None], parts: Parts, store: ComposedAdapters
) -> None:
    made = store.of(parse("poet@0.5"), parts)
    whole = (made.folder / WEIGHTS_FILE).read_bytes()
    damage(made.folder)
    assert store.of(parse("poet@0.5"), parts) == made
    assert (made.folder / WEIGHTS_FILE).read_bytes() == whole


def test_the_second_use_reads_no_weights(
    parts: Parts, store: ComposedAdapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.of(parse("poet@0.5"), parts)
    for name in ("load_adapter", "adapter_sha256", "sha256_file"):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("weights were read again"))
    assert store.of(parse("poet@0.5"), parts) is first
    name = first.name
    del first
    gc.collect()
    assert store.of(parse("poet@0.5"), parts).name == name


# --- eviction ---------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_go_first(parts: Parts, tmp_path: Path) -> None:
    store = ComposedAdapters(tmp_path / "c", most=2)
    first, second = (store.of(parse(f"poet@{w}"), parts).name for w in (0.1, 0.2))
    os.utime(store.folder / first / MANIFEST_FILE, ns=(1, 1))
    os.utime(store.folder / second / MANIFEST_FILE, ns=(2, 2))
    store.of(parse("poet@0.1"), parts)
    third = store.of(parse("poet@0.3"), parts).name
    assert entries(store) == {first, third}


def test_one_in_use_stays_here_and_for_another_process(parts: Parts, tmp_path: Path) -> None:
    store = ComposedAdapters(tmp_path / "c", most=1)
    held = store.of(parse("poet@0.1"), parts)
    for asked in (store, ComposedAdapters(store.folder, most=1)):
        asked.of(parse("poet@0.2"), parts)
        assert held.name in entries(store)
    name = held.name
    del held
    gc.collect()
    os.utime(store.folder / name / MANIFEST_FILE, ns=(1, 1))
    store.of(parse("poet@0.3"), parts)
    assert name not in entries(store)
    assert len(entries(store)) == 1


def test_a_hold_ends_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    close = hold(path)
    assert not unheld(path)
    close()
    assert unheld(path)
    assert unheld(tmp_path / "missing")
    hold(tmp_path / "missing")()


# --- threads and processes --------------------------------------------------------------------------------------------


def test_many_threads_make_each_adapter_once(
    parts: Parts, store: ComposedAdapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    write = composed_files.write
    monkeypatch.setattr(composed_files, "write", lambda folder, *rest: (made.append(folder.name), write(folder, *rest)))
    start = threading.Barrier(8)

    def ask(number: int) -> str:
        start.wait()
        return store.of(parse(f"poet@0.{number % 2 + 1}"), parts).sha256

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(ask, range(8)))
    assert len(set(told)) == len(made) == 2


CHILD = """
import sys
from pathlib import Path
from scenepipe.mixture import parse
from scenepipe.models.composed import ComposedAdapters
folder, poet, logician = map(Path, sys.argv[1:4])
store = ComposedAdapters(folder, most=3)
for step in range(8):
    made = store.of(parse(f"poet@0.{step % 4 + 1}+logician@0.2"), {"poet": poet, "logician": logician})
    print(made.name, made.sha256, flush=True)
"""


def test_two_processes_at_once_agree(parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    command = [sys.executable, "-c", CHILD, str(folder), str(parts["poet"]), str(parts["logician"])]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert told[0] == told[1]
    assert len(told[0].splitlines()) == 8
    assert 3 <= len(entries(ComposedAdapters(folder))) <= 4


CRASH = """
import os, sys
from pathlib import Path
from scenepipe.mixture import parse
from scenepipe.models import composed, composed_files
left = int(sys.argv[3])
def sync(file):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
composed_files.sync = sync
composed.ComposedAdapters(Path(sys.argv[1])).of(parse("poet@0.5"), {"poet": Path(sys.argv[2])})
"""


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_crash_in_the_middle_leaves_nothing_half(after: int, parts: Parts, store: ComposedAdapters) -> None:
    command = [sys.executable, "-c", CRASH, str(store.folder), str(parts["poet"]), str(after)]
    assert subprocess.run(command, timeout=60).returncode == 9
    assert all(name.endswith(".part") for name in entries(store))
    made = store.of(parse("poet@0.5"), parts)
    assert entries(store) == {made.name}


def test_a_lock_that_is_not_given_back_is_named(
    parts: Parts, store: ComposedAdapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.05)
    store.folder.mkdir()
    with filelock.FileLock(store.folder / ".lock"), pytest.raises(RegisterError, match="locked by another process"):
        store.of(parse("poet"), parts)
