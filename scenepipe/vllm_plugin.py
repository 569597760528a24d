"""Plug-in for a stock ``vllm serve``: the model name ``mix:poet@0.6+logician@0.4`` is that mixture of registers.

Found by vLLM through the entry point ``vllm.general_plugins``; answers no name unless ``SCENEPIPE_REGISTERS`` is set:

    SCENEPIPE_REGISTERS=registers VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 \\
        vllm serve MODEL --enable-lora --max-loras 8 --max-lora-rank 64

    SCENEPIPE_REGISTERS   folders that hold register folders, several with the platform's separator (``:``)
    SCENEPIPE_MODEL       id of the model in the cards of the registers; not needed where they have one adapter each
    SCENEPIPE_CACHE       where composed adapters are kept (see `scenepipe.models.composed`)
    SCENEPIPE_MIXTURES    different mixtures that one server answers, 256 unless set; vLLM remembers each for good

vLLM asks resolvers only where ``VLLM_ALLOW_RUNTIME_LORA_UPDATING`` is set, which also opens its routes that load adapters
from any path: keep them from strangers. ``mix:base`` is the base; on a CPU ask for it by this name, since vLLM 0.32 gives
a row without an adapter the one of its last place there.

A name reaches the disk only as register names (`scenepipe.mixture.REGISTER_NAME`), and a register's folder must lie in
its root itself: nothing is followed out of it. What is refused is logged with its reason, and vLLM answers 404.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenepipe.errors import MixtureError, RegisterError, ScenepipeError, did_you_mean
from scenepipe.mixture import parse
from scenepipe.models.adapter import adapter_sha256
from scenepipe.models.composed import ComposedAdapter, ComposedAdapters, composed_dir
from scenepipe.models.receipt import AdapterMade, file_mismatches, read_receipt
from scenepipe.register import CARD_FILE, Register, load_register

PREFIX = "mix:"
MOST_MIXTURES = 256
LONGEST_NAME = 1000
PARENT = "SCENEPIPE_VLLM_PARENT"
"""Set by the backend `vllm` for its engine process: the id of its own."""
_WATCH_SECONDS = 1.0
_GRACE_SECONDS = 10.0
_log = logging.getLogger("vllm.scenepipe")


def register() -> None:
    """Entry point: vLLM calls it once in each of its processes."""
    end_with_parent()
    roots = [Path(part) for part in os.environ.get("SCENEPIPE_REGISTERS", "").split(os.pathsep) if part]
    if not roots:
        return
    from vllm.lora.resolver import LoRAResolverRegistry

    mixtures = Mixtures(
        roots,
        model=os.environ.get("SCENEPIPE_MODEL") or None,
        most=_most(os.environ.get("SCENEPIPE_MIXTURES")),
    )
    LoRAResolverRegistry.register_resolver("scenepipe", _resolver(mixtures))


def end_with_parent() -> None:
    """In an engine process that scenepipe started: end it when scenepipe's process is gone, even by SIGKILL.

    vLLM ends its workers with the engine, and the engine only with an orderly exit of its parent.
    """
    given = os.environ.get(PARENT, "")
    if given.isdigit() and int(given) == os.getppid():
        threading.Thread(target=_watch, args=(int(given),), daemon=True, name="scenepipe-parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


def _most(given: str | None) -> int:
    if not given:
        return MOST_MIXTURES
    if not given.isascii() or not given.isdigit() or int(given) < 1:
        raise RegisterError(f"SCENEPIPE_MIXTURES is {given!r}; a whole number of at least 1 is needed")
    return int(given)


class Mixtures:
    """Composed adapters by model name. What it has given out once, it keeps: vLLM reads the folder again at any time.

    Args:
        roots: folders that hold register folders; the first that has one wins.
        model: id of the model in the registers' cards; None: the only one that each has.
        most: different mixtures that are given out.

    Raises:
        RegisterError: a root is not a folder.
    """

    def __init__(self, roots: Sequence[Path], *, model: str | None = None, most: int = MOST_MIXTURES) -> None:
        for root in roots:
            if not root.is_dir():
                raise RegisterError(
                    f"SCENEPIPE_REGISTERS: {root} is not a folder; name one that holds register folders"
                )
        self._roots = tuple(roots)
        self._model = model
        self._most = most
        self._given: dict[tuple[tuple[str, float], ...], set[ComposedAdapter]] = {}
        self._stores: dict[str, ComposedAdapters] = {}
        self._lock = threading.Lock()

    def adapter(self, name: str) -> ComposedAdapter | None:
        """The adapter of a model name; None for a name that is no mixture. Blocks: call it in a thread.

        Raises:
            MixtureError: it is no canonical mixture text, an unknown register, or one mixture too many.
            RegisterError: a register has no fitting adapter, or its folder leads out of its root.
            ModelError: the disk is full.
        """
        if not name.startswith(PREFIX):
            return None
        if len(name) > LONGEST_NAME:
            raise MixtureError(f"a model name of {len(name)} characters; at most {LONGEST_NAME} are read")
        mixture = parse(name.removeprefix(PREFIX))
        weights = tuple(sorted((name, weight) for name, weight in mixture.weights.items() if weight > 0))
        with self._lock:
            if weights not in self._given and len(self._given) >= self._most:
                raise MixtureError(
                    f"this server has answered {self._most} different mixtures, which it keeps on disk and in mind; "
                    "round the weights, raise SCENEPIPE_MIXTURES, or start it again"
                )
            registers = {name: self._register(name) for name in (dict(weights) or self._names())}
            store, folders = self._parts(registers)
            made = store.of(mixture, folders) if weights else store.base(folders)
            self._given.setdefault(weights, set()).add(made)
            return made

    def _names(self) -> list[str]:
        """Every voice that has an adapter for the model."""
        found = []
        for root in self._roots:
            for card in sorted(root.glob(f"*/{CARD_FILE}")):
                try:
                    register = self._register(card.parent.name)
                except ScenepipeError:
                    continue
                if self._model is None or self._model in register.adapters:
                    found.append(register.name)
        if not found:
            raise MixtureError(f"no register with an adapter in {', '.join(map(str, self._roots))}")
        return found

    def _register(self, name: str) -> Register:
        for root in self._roots:
            folder = root / name
            if not os.path.lexists(folder):
                continue
            if folder.is_symlink() or folder.resolve().parent != root.resolve():
                raise RegisterError(f"register '{name}': {folder} leads out of its root; put the folder itself there")
            register = load_register(folder)
            if register.kind != "voice":
                raise RegisterError(f"register '{name}' is of kind '{register.kind}'; only voices stand in a mixture")
            return register
        known = {card.parent.name for root in self._roots for card in root.glob(f"*/{CARD_FILE}")}
        raise MixtureError(f"unknown register '{name}'; {did_you_mean(name, known)}")

    def _parts(self, registers: Mapping[str, Register]) -> tuple[ComposedAdapters, dict[str, Path]]:
        """The store of the registers' base, and each one's adapter folder, proven by its receipt."""
        folders, bases = {}, {}
        for name, register in registers.items():
            folders[name], receipt = self._proven(register)
            bases[name] = receipt.base.sha256
        if len(set(bases.values())) > 1:
            told = ", ".join(f"{name}: {base[:12]}…" for name, base in bases.items())
            raise RegisterError(f"these registers were trained on different base models ({told}); mix those of one")
        base = next(iter(bases.values()))
        if base not in self._stores:
            self._stores[base] = ComposedAdapters(composed_dir(base), most=max(self._most, 64))
        return self._stores[base], folders

    def _proven(self, register: Register) -> tuple[Path, AdapterMade]:
        model = self._model or _only(register)
        folder = register.adapters.get(model)
        if folder is None:
            raise RegisterError(
                f"register '{register.name}' has no adapter for model '{model}'; {did_you_mean(model, register.adapters)}"
            )
        if not folder.resolve().is_relative_to(register.folder):
            raise RegisterError(f"register '{register.name}': {folder} leads out of its folder")
        receipt = read_receipt(folder)
        if faults := file_mismatches(receipt, adapter_sha256(folder), model, register.kind):
            raise RegisterError(f"register '{register.name}', adapter for '{model}': {'; '.join(faults)}")
        return folder, receipt


def _only(register: Register) -> str:
    if len(register.adapters) != 1:
        raise RegisterError(
            f"register '{register.name}' has adapters for {', '.join(register.adapters) or 'no model'}; "
            "set SCENEPIPE_MODEL to the one that is served"
        )
    return next(iter(register.adapters))


def _resolver(mixtures: Mixtures) -> Any:
    """vLLM's ``LoRAResolver`` over them."""
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver

    class MixtureResolver(LoRAResolver):  # type: ignore[misc]
        async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
            try:
                adapter = await asyncio.to_thread(mixtures.adapter, lora_name)
            except ScenepipeError as error:
                _log.warning("model name %.200r is refused: %s", lora_name, error)
                return None
            if adapter is None:
                return None
            return LoRARequest(
                lora_name=lora_name, lora_int_id=1, lora_path=str(adapter.folder)
            )  # vLLM sets its own id

    return MixtureResolver()


__all__ = ["MOST_MIXTURES", "PARENT", "PREFIX", "Mixtures", "end_with_parent", "register"]
