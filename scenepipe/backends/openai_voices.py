"""How a mixture becomes a request, where the server has its adapters already: by scales, or by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Protocol

from scenepipe.backends.openai_flavours import Flavour
from scenepipe.backends.openai_http import HttpServer
from scenepipe.backends.openai_wire import Voice
from scenepipe.context import offload
from scenepipe.errors import BackendError, MixtureError, RegisterError
from scenepipe.mixture import Mixture, MixtureMode, of, parse

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register


class Voices(Protocol):
    """Mixtures at one open server.

    Attributes:
        modes: how it honours a mixture of several registers.
        hashes: SHA-256 of the adapter file behind each register, where it is known.
    """

    modes: tuple[MixtureMode, ...]
    hashes: Mapping[str, str]

    async def open(self, registers: Sequence[Register], model: LocalModel | None) -> None: ...

    def speaking(self, mixture: Mixture, until: float) -> Any:
        """An async context manager: the `Voice` of a mixture, held while it speaks."""
        ...

    def samples(self) -> Mapping[str, Sequence[Mixture]]:
        """Mixtures by register, whose effect shows that its adapter is applied."""
        ...

    def forget(self, voice: Voice) -> bool:
        """The server does not know this voice; whether asking again may help."""
        ...

    async def aclose(self) -> None: ...


def local_adapters(registers: Sequence[Register], model: LocalModel | None) -> dict[str, tuple[Path, str]]:
    """PEFT folder and file hash by register: of the pipeline's model, or the only one that a register has.

    Raises:
        RegisterError: an adapter is refused.
    """
    from scenepipe.models.adapter import adapter_sha256
    from scenepipe.register import adapter_of

    found: dict[str, tuple[Path, str]] = {}
    for register in registers:
        if model is not None:
            adapter = adapter_of(register, model)
            found[register.name] = adapter.folder, adapter.sha256
        elif len(register.adapters) == 1:
            (folder,) = register.adapters.values()
            found[register.name] = folder, adapter_sha256(folder)
    return found


class NamedVoices:
    """One name at the server for each mixture that it has an adapter for: what was deployed is all there is.

    Args:
        given: adapter or model name at the server, by mixture (``poet``, ``poet@0.6+logician@0.4``).
        place: names the server in messages.
    """

    def __init__(self, flavour: Flavour, served: str, given: Mapping[str, str], place: str) -> None:
        self._flavour = flavour
        self._served = served
        self._place = place
        self._names = {parse(mixture).id: name for mixture, name in given.items()}
        self._registers: tuple[str, ...] = ()
        self.modes: tuple[MixtureMode, ...] = ()
        self.hashes: Mapping[str, str] = {}

    async def open(self, registers: Sequence[Register], model: LocalModel | None) -> None:
        """Name what is deployed.

        Raises:
            BackendError: a register that nothing at the server is named for.
        """
        self._registers = tuple(register.name for register in registers)
        told = {name for mixture in self._names for name in parse(mixture).weights}
        for name in self._registers:
            if name not in told and self._flavour.convention is not None:
                self._names[of({name: 1.0}).id] = self._flavour.convention.format(served=self._served, name=name)
            elif name not in told:
                raise BackendError(
                    f"{self._place}: register '{name}' has no name at this server; deploy its adapter and give "
                    f"adapters: {{{name}: ITS_NAME}}, or take it out of 'registers'"
                )
        self.modes = ("premerged",) if self._registers else ()
        try:
            self.hashes = {n: sha for n, (_, sha) in (await offload(local_adapters, registers, model)).items()}
        except RegisterError:  # the server's adapter is another file than any here: nothing is known of it
            self.hashes = {}

    @asynccontextmanager
    async def speaking(self, mixture: Mixture, until: float) -> AsyncIterator[Voice]:
        """The voice of a mixture.

        Raises:
            MixtureError: nothing is deployed for it.
        """
        if mixture.id == "base":
            yield Voice(self._served)
            return
        if mixture.id not in self._names:
            raise MixtureError(
                f"{self._place} has no adapter for the mixture {mixture.id}; it has {', '.join(sorted(self._names))}. "
                f"Compose and deploy it, and give adapters: {{'{mixture.id}': ITS_NAME}}"
            )
        name = self._names[mixture.id]
        yield Voice(self._served, adapter=name) if self._flavour.lora == "adapter_id" else Voice(name)

    def samples(self) -> Mapping[str, Sequence[Mixture]]:
        deployed = [parse(mixture) for mixture in self._names]
        return {name: [mixture for mixture in deployed if name in mixture.weights] for name in self._registers}

    def forget(self, voice: Voice) -> bool:
        return False

    async def aclose(self) -> None:
        return None


class ScaledVoices:
    """llama-server: every adapter is loaded, a request says how much of each. Mixtures are exact.

    Args:
        given: adapter by register: its number, path or file name at the server.
    """

    modes: tuple[MixtureMode, ...] = ("exact",)

    def __init__(self, flavour: Flavour, served: str, given: Mapping[str, str], server: HttpServer) -> None:
        self._flavour = flavour
        self._served = served
        self._given = given
        self._server = server
        self._place: dict[str, int] = {}
        self._all = 0
        self.hashes: Mapping[str, str] = {}

    async def open(self, registers: Sequence[Register], model: LocalModel | None) -> None:
        """Find every register among the server's adapters.

        Raises:
            BackendError: one is not there, or the file there is another one.
        """
        listed = await self._server.get("/lora-adapters")
        paths = {int(each["id"]): str(each["path"]) for each in listed}
        self._all = max(paths, default=-1) + 1
        local = await offload(local_adapters, registers, model)
        self.hashes = {name: sha256 for name, (_, sha256) in local.items()}
        files = await offload(_gguf_files, registers, model)
        for place, register in enumerate(registers):
            self._place[register.name] = self._found(register.name, place, paths, files, len(registers))
        if len(set(self._place.values())) < len(self._place):
            raise BackendError(f"{self._server.place}: two registers have the same adapter there: {self._place}")

    def _found(self, name: str, place: int, paths: Mapping[int, str], files: Mapping[str, Path], count: int) -> int:
        """The number of a register's adapter: as given, by its file's name, by its own name, or by order."""
        given = self._given.get(name)
        wanted = [given] if given is not None else [str(files[name])] if name in files else []
        if given is not None and given.isdecimal() and int(given) in paths:
            return int(given)
        for known in (*wanted, *([] if given else [name])):
            for number, path in paths.items():
                if known in (path, _file_name(path), _file_name(path).rpartition(".")[0]) or (
                    _file_name(path) == _file_name(known)
                ):
                    return number
        if given is None and len(paths) == count and place in paths:
            if name in files and not _same_file(Path(paths[place]), files[name]):
                raise BackendError(
                    f"{self._server.place}: its adapter {place} is {paths[place]}, which is not the adapter of register "
                    f"'{name}' ({files[name]}); start it with that file, or give adapters: {{{name}: NUMBER}}"
                )
            return place
        has = ", ".join(f"{number}: {path}" for number, path in paths.items()) or "none"
        all_files = ",".join(str(file) for file in files.values())
        file = f"--lora {all_files}" if name in files else self._flavour.start
        raise BackendError(
            f"{self._server.place}: register '{name}' is not among its adapters ({has}); start it with {file}, "
            f"or give adapters: {{{name}: NUMBER or FILE}}"
        )

    @asynccontextmanager
    async def speaking(self, mixture: Mixture, until: float) -> AsyncIterator[Voice]:
        """The scale of every adapter that the server has: one that is left out would be at 0."""
        scales = [0.0] * self._all
        for name, weight in mixture.weights.items():
            scales[self._place[name]] = weight
        yield Voice(self._served, scales=tuple(scales))

    def samples(self) -> Mapping[str, Sequence[Mixture]]:
        return {name: [of({name: 1.0})] for name in self._place}

    def forget(self, voice: Voice) -> bool:
        return False

    async def aclose(self) -> None:
        return None


def _gguf_files(registers: Sequence[Register], model: LocalModel | None) -> dict[str, Path]:
    from scenepipe.models.gguf_lora import gguf_adapter

    return {} if model is None else {register.name: gguf_adapter(register, model) for register in registers}


def _same_file(there: Path, here: Path) -> bool:
    """Whether a file at the server is this one; a server on another machine cannot be looked at, and is believed."""
    from scenepipe.models.store import sha256_file

    return not there.is_file() or sha256_file(there) == sha256_file(here)


def _file_name(path: str) -> str:
    return PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name
