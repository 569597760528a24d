"""Mixtures at a vLLM server: one composed adapter for each, loaded when it is first asked for.

``POST /v1/load_lora_adapter`` and ``/v1/unload_lora_adapter`` (vLLM 0.32, ``entrypoints/serve/lora``). A composed adapter's
name and folder are made of its mixture and the hashes of its parts, so vLLM's caches, which are kept by name and path,
never serve old weights.

The base has an adapter too, one of zeros: on a CPU vLLM 0.32 gives a row without an adapter the one of its last place
(``vllm.lora.ops.torch_ops`` takes the index -1), and no answer tells what a server computes on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scenepipe.backends.openai_errors import ServerError
from scenepipe.backends.openai_http import HttpServer
from scenepipe.backends.openai_voices import local_adapters
from scenepipe.backends.openai_wire import Voice
from scenepipe.context import offload
from scenepipe.errors import BackendError, DeadlineError, RegisterError
from scenepipe.mixture import Mixture, MixtureMode, of
from scenepipe.models.composed import ComposedAdapter, ComposedAdapters

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

_LEAVE_S = 2.0
_START = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank"


@dataclass
class _Loaded:
    """An adapter that the server has, and how many replies speak with it now."""

    adapter: ComposedAdapter
    users: int = 0


class LoadedVoices:
    """At most ``most`` adapters at the server; the least recently used makes room, never one that speaks.

    Args:
        folder: composed adapters; the server must see the same path.
        max_rank: the server's ``--max-lora-rank``.
        most: the server's ``--max-cpu-loras``.
    """

    modes: tuple[MixtureMode, ...] = ("premerged",)

    def __init__(self, served: str, server: HttpServer, folder: Path, *, max_rank: int, most: int) -> None:
        self._served = served
        self._server = server
        self._most = most
        self._max_rank = max_rank
        self._composed = ComposedAdapters(folder, most=max(64, most), max_rank=max_rank)
        self._folders: dict[str, Path] = {}
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._changing = asyncio.Lock()
        self._freed = asyncio.Event()
        self.hashes: Mapping[str, str] = {}

    async def open(self, registers: Sequence[Register], model: LocalModel | None) -> None:
        """Find the registers' adapters on this machine.

        Raises:
            RegisterError: a register has none, or several and no model says which.
        """
        local = await offload(local_adapters, registers, model)
        for register in registers:
            if register.name not in local:
                raise RegisterError(
                    f"register '{register.name}' has adapters for {', '.join(sorted(register.adapters)) or 'no model'}; "
                    "name the one that the server serves with 'model:'"
                )
        self._folders = {name: folder for name, (folder, _) in local.items()}
        self.hashes = {name: sha256 for name, (_, sha256) in local.items()}

    @asynccontextmanager
    async def speaking(self, mixture: Mixture, until: float) -> AsyncIterator[Voice]:
        """The name of the mixture's adapter, loaded and not unloaded before it has spoken. Without registers: the model's.

        Raises:
            MixtureError: the sum of ranks is more than the server takes.
            BackendError: the server does not load it.
            DeadlineError: every place was taken until then.
        """
        if mixture.id == "base" and not self._folders:
            yield Voice(self._served)
            return
        adapter = await offload(self._composed_of, mixture)
        loaded = await self._held(adapter, until)
        try:
            yield Voice(adapter.name)
        finally:
            loaded.users -= 1
            self._freed.set()

    def _composed_of(self, mixture: Mixture) -> ComposedAdapter:
        if mixture.id == "base":
            return self._composed.base(self._folders)
        return self._composed.of(mixture, self._folders)

    def samples(self) -> Mapping[str, Sequence[Mixture]]:
        return {name: [of({name: 1.0})] for name in self._folders}

    def forget(self, voice: Voice) -> bool:
        """A server that was started again, or another client that unloaded it: it is loaded again when asked for."""
        return self._loaded.pop(voice.model, None) is not None

    async def aclose(self) -> None:
        """Take out of the server what was put in; a server that is gone has nothing."""
        names, deadline = list(self._loaded), asyncio.get_running_loop().time() + _LEAVE_S
        self._loaded.clear()
        for name in names:
            with suppress(BackendError):
                await self._server.post("/v1/unload_lora_adapter", {"lora_name": name}, deadline=deadline)

    async def _held(self, adapter: ComposedAdapter, until: float) -> _Loaded:
        loaded = self._loaded.get(adapter.name)
        if loaded is None:
            try:
                async with asyncio.timeout_at(until), self._changing:
                    loaded = self._loaded.get(adapter.name) or await self._load(adapter, until)
            except TimeoutError:
                raise DeadlineError(
                    f"{self._server.place}: all {self._most} places for adapters spoke until the deadline; raise "
                    "max_cpu_loras here and --max-cpu-loras there, or deadline_s"
                ) from None
        loaded.users += 1
        if adapter.name in self._loaded:
            self._loaded.move_to_end(adapter.name)
        return loaded

    async def _load(self, adapter: ComposedAdapter, until: float) -> _Loaded:
        await self._make_room(until)
        body = {"lora_name": adapter.name, "lora_path": str(adapter.folder)}
        try:
            await self._server.post("/v1/load_lora_adapter", body, deadline=until)
        except ServerError as error:
            if "already been loaded" not in str(error):
                raise self._explained(error, adapter) from error
        loaded = self._loaded[adapter.name] = _Loaded(adapter)
        return loaded

    async def _make_room(self, until: float) -> None:
        while len(self._loaded) >= self._most:
            idle = next((name for name, each in self._loaded.items() if not each.users), None)
            if idle is None:
                self._freed.clear()
                await self._freed.wait()
                continue
            del self._loaded[idle]
            with suppress(ServerError):  # one that it does not have is unloaded too
                await self._server.post("/v1/unload_lora_adapter", {"lora_name": idle}, deadline=until)

    def _explained(self, error: ServerError, adapter: ComposedAdapter) -> BackendError:
        """The server's refusal, with what to start it with."""
        start = f"{_START} {max(adapter.rank, self._max_rank)} --max-cpu-loras {self._most}"
        if error.status in (404, 405):
            return BackendError(f"{error}. It loads no adapters at run time: start it as {start}")
        if "rank" in str(error):
            return BackendError(f"{error}. The adapter has rank {adapter.rank}: start it as {start}, or give max_rank")
        return BackendError(f"{error}. It must see the folder {adapter.folder}; start it as {start}")
