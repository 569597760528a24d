"""Composed adapters on disk: one ordinary PEFT folder for each weighted mixture, for engines that take one adapter.

The folder's update is exactly ``w1*dW1 + w2*dW2 + ...`` (`scenepipe.models.adapter.compose`). Its name is made of the
mixture and of the hashes of its parts, so the same name never stands for other weights: engines key their attention
caches by name and path. Scaling is folded and alpha = r, because several engines ignore rsLoRA and patterns silently.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock

from scenepipe.errors import ConfigError, Fault, MixtureError, RegisterError, did_you_mean
from scenepipe.mixture import Mixture
from scenepipe.models import composed_files as files
from scenepipe.models.adapter import WEIGHTS_FILE, Adapter, adapter_sha256, compose, load_adapter
from scenepipe.models.composed_files import CONFIG_FILE, FORMAT, MANIFEST_FILE, Signature
from scenepipe.models.composed_use import hold, unheld
from scenepipe.models.store import building, check_space, derived_dir, disk_full_named, remove, sha256_file

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM 0.32 allows for ``max_lora_rank``, above 1."""
_LOCK_SECONDS = 120.0
_NAME_LENGTH = 80


@dataclass(frozen=True)
class ComposedAdapter:
    """One composed adapter. As long as somebody holds this object, its folder is not evicted.

    Args:
        name: a safe file name: the mixture, then a hash of its parts.
        folder: a PEFT folder, ``adapter_config.json`` and ``adapter_model.safetensors``.
        sha256: hash of the weights file.
        rank: the same for every module, padded with zeros up to one that engines allow.
    """

    name: str
    folder: Path
    sha256: str
    rank: int


class ComposedAdapters:
    """The least recently used of them are removed beyond ``most``; safe between threads and processes.

    Args:
        folder: where they lie; made at the first use, and nothing else may lie there.
        most: adapters that are kept. Those in use stay, even if they are more.
        max_rank: the largest rank that the engine takes; None: the largest that any takes.

    Raises:
        ConfigError: a number that is less than 1.
    """

    def __init__(self, folder: Path, *, most: int = 64, max_rank: int | None = None) -> None:
        faults = [
            Fault(key, f"{value} was given; the least is 1")
            for key, value in (("most", most), ("max_rank", max_rank))
            if value is not None and value < 1
        ]
        if faults:
            raise ConfigError(faults, "composed adapters")
        self.folder = folder.absolute()
        self.most = most
        self.max_rank = max_rank
        self._alive: weakref.WeakValueDictionary[str, ComposedAdapter] = weakref.WeakValueDictionary()
        self._checked: dict[str, Signature] = {}
        self._parts: dict[Path, tuple[Signature, str]] = {}
        self._threads = threading.Lock()

    def of(self, mixture: Mixture, adapters: Mapping[str, Path]) -> ComposedAdapter:
        """The mixture's adapter, composed now if it is not there whole. Blocks: call it in a thread.

        Args:
            adapters: PEFT folder by register, for at least the registers of the mixture.

        Raises:
            MixtureError: no register has a weight, one is not in ``adapters``, or the sum of ranks is more than
                the engine takes.
            RegisterError: an adapter cannot be read, they are for different models, or the lock is not given back.
            ModelError: the disk is full.
        """
        weights = {name: weight for name, weight in sorted(mixture.weights.items()) if weight > 0}
        if not weights:
            raise MixtureError("the mixture is the base alone, which needs no adapter; ask the engine without one")
        for name in weights:
            if name not in adapters:
                raise MixtureError(f"register '{name}' is not open; {did_you_mean(name, adapters)}")
        told = re.sub(r"[^a-z0-9._-]", "", mixture.id.replace("@", "-").replace("+", "_"))
        return self._entry(told, weights, adapters)

    def base(self, adapters: Mapping[str, Path]) -> ComposedAdapter:
        """An adapter that changes nothing, for engines that cannot leave a row of a batch without one.

        Args:
            adapters: PEFT folder by register: the same layers get zeros.

        Raises:
            MixtureError: there is no register.
            RegisterError, ModelError: as `of`.
        """
        if not adapters:
            raise MixtureError("without any register there is no layer to add zeros to; ask the engine without one")
        return self._entry("base", dict.fromkeys(sorted(adapters), 0.0), adapters)

    def _entry(self, told: str, weights: Mapping[str, float], adapters: Mapping[str, Path]) -> ComposedAdapter:
        name = self._name(told, weights, adapters)
        found = self._in_use(name)
        if found is None:
            with self._threads, self._locked():
                found = self._in_use(name) or self._found(name) or self._made(name, weights, adapters)
                self._alive[name] = found
                self._evict()
        files.touch(found.folder / MANIFEST_FILE)
        return found

    # --- names -------------------------------------------------------------------------------------------------------

    def _name(self, told: str, weights: Mapping[str, float], adapters: Mapping[str, Path]) -> str:
        parts = [(name, weight, self._part(adapters[name])) for name, weight in weights.items()]
        digest = hashlib.sha256(json.dumps([FORMAT, self.max_rank, parts]).encode()).hexdigest()
        return f"{told[:_NAME_LENGTH].rstrip('.')}-{digest[:24]}"

    def _part(self, folder: Path) -> str:
        """Hash of an adapter's weights and config; read again when a file's times, size or place have changed."""
        signature = files.signature(folder / WEIGHTS_FILE, folder / CONFIG_FILE)
        known = self._parts.get(folder)
        if known is None or not signature or known[0] != signature:
            config = folder / CONFIG_FILE
            told = adapter_sha256(folder) + (sha256_file(config) if config.is_file() else "")
            self._parts[folder] = known = (signature, told)
        return known[1]

    # --- one entry ---------------------------------------------------------------------------------------------------

    def _in_use(self, name: str) -> ComposedAdapter | None:
        """One that somebody holds, and whose files are those that were checked."""
        return self._alive.get(name) if self._is_checked(name, self._signature(name)) else None

    def _is_checked(self, name: str, signature: Signature) -> bool:
        return bool(signature) and self._checked.get(name) == signature

    def _signature(self, name: str) -> Signature:
        return files.signature(*(self.folder / name / file for file in (WEIGHTS_FILE, CONFIG_FILE)))

    def _found(self, name: str) -> ComposedAdapter | None:
        """What lies under the name, if every byte of it is what was written; files that nobody touched are not read again."""
        folder = self.folder / name
        manifest, signature = files.manifest(folder), self._signature(name)
        if manifest is None:
            return None
        if not self._is_checked(name, signature):
            if manifest["files"] != {f: sha256_file(folder / f) for f in (CONFIG_FILE, WEIGHTS_FILE)}:
                return None
            self._checked[name] = signature
        return self._held(ComposedAdapter(name, folder, manifest["files"][WEIGHTS_FILE], manifest["rank"]))

    def _made(self, name: str, weights: Mapping[str, float], adapters: Mapping[str, Path]) -> ComposedAdapter:
        parts = [self._loaded(adapters[part]) for part in weights]
        whole = compose(parts, list(weights.values())) if any(weights.values()) else files.nothing(parts)
        rank = self._rank(whole.rank, "+".join(f"{part}@{weight:g}" for part, weight in weights.items()))
        folder = self.folder / name
        needed = 4 * sum((pair.a.shape[1] + pair.b.shape[0]) * rank for pair in whole.modules.values())
        check_space(self.folder, needed)
        remove(folder)
        with disk_full_named(folder, needed), building(folder) as part:
            files.write(part, files.padded(whole, rank), rank)
        found = self._found(name)
        if found is None:
            raise RegisterError(f"{folder} was written and does not read back the same; check the disk")
        return found

    def _loaded(self, folder: Path) -> Adapter:
        """The very adapter that the name was made of."""
        adapter = load_adapter(folder)
        if self._parts[folder][0] != files.signature(folder / WEIGHTS_FILE, folder / CONFIG_FILE):
            raise RegisterError(f"{folder} was changed while it was read; ask again")
        return adapter

    def _rank(self, rank: int, mixture: str) -> int:
        allowed = [r for r in RANKS if self.max_rank is None or r <= self.max_rank]
        allowed += [] if self.max_rank is None else [self.max_rank]
        if rank > max(allowed):
            raise MixtureError(
                f"mixture {mixture} has rank {rank}, the sum of its registers' ranks, and the engine takes at most "
                f"{max(allowed)}; raise its largest LoRA rank, mix fewer registers, or train them with a smaller rank"
            )
        return min(r for r in allowed if r >= rank)

    def _held(self, adapter: ComposedAdapter) -> ComposedAdapter:
        weakref.finalize(adapter, hold(adapter.folder / MANIFEST_FILE))
        return adapter

    # --- the folder --------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / ".lock", timeout=_LOCK_SECONDS)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise RegisterError(
                f"{self.folder} has been locked by another process for {_LOCK_SECONDS:g} s; end that process"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _evict(self) -> None:
        """Remove what a crash has left (nobody else builds now), and the least recently used that nobody holds."""
        entries = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith(".part"):
                remove(Path(entry.path))
            elif entry.is_dir(follow_symlinks=False) and (manifest := Path(entry.path, MANIFEST_FILE)).is_file():
                entries.append((manifest.stat().st_mtime_ns, entry.name))
        too_many = len(entries) - self.most
        for _, name in sorted(entries):
            if too_many <= 0:
                return
            if name not in self._alive and unheld(self.folder / name / MANIFEST_FILE):
                remove(self.folder / name)
                self._checked.pop(name, None)
                too_many -= 1


def composed_dir(model_sha256: str) -> Path:
    """Where a model's composed adapters are kept, in the user's cache."""
    return derived_dir(model_sha256) / f"composed-{FORMAT}"
