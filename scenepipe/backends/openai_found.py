"""What is known of a server before the first reply: options that fit its kind, its model, its places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from scenepipe.backends.grouping import MixtureSlots
from scenepipe.backends.openai_errors import ServerError
from scenepipe.backends.openai_flavours import FLAVOURS, Flavour
from scenepipe.backends.openai_http import HttpServer, url_faults
from scenepipe.errors import BackendError, DeadlineError, Fault, MixtureError, did_you_mean
from scenepipe.mixture import parse

MANY = 32
"""Requests in flight at a server that does not say how many it takes."""


def option_faults(url: str, flavour: str, adapters: Mapping[str, str], loading: Mapping[str, Any]) -> list[Fault]:
    """Options that are wrong, or mean nothing for this flavour.

    Args:
        loading: options of a server that loads adapters at run time.
    """
    faults = url_faults(url)
    lora = FLAVOURS[flavour].lora if flavour in FLAVOURS else None  # type: ignore[index]  # checked here
    if lora is None:
        return [*faults, Fault("flavour", did_you_mean(flavour, FLAVOURS))]
    if lora != "loaded":
        faults += [
            Fault(key, f"only vllm loads adapters, this is {flavour}") for key, value in loading.items() if value
        ]
    if adapters and lora in ("none", "loaded"):
        why = "it has no adapters to choose" if lora == "none" else "adapters are composed and loaded when asked for"
        faults.append(Fault("adapters", f"{flavour}: {why}; leave it out"))
    return faults + mixture_faults(adapters)


def mixture_faults(adapters: Mapping[str, str]) -> list[Fault]:
    """Keys of ``adapters`` that are no mixture."""
    faults = []
    for mixture in adapters:
        try:
            parse(mixture)
        except MixtureError as error:
            faults.append(Fault(f"adapters.{mixture}", str(error)))
    return faults


async def found_model(server: HttpServer, flavour: Flavour, served: str | None) -> str:
    """The name of the model, seen in the server's list where it has one.

    Raises:
        BackendError: the server does not serve it, or none or several and none was named.
    """
    if flavour.alone is not None:
        return served or flavour.alone
    try:
        listed = await server.get("/v1/models")
    except ServerError as error:
        if served is None or error.status not in (404, 405):
            raise
        return served
    rows = listed.get("data") if isinstance(listed, dict) else None
    known = [row["id"] for row in rows or () if isinstance(row, dict) and "id" in row and not row.get("parent")]
    if served is None and len(known) != 1:
        raise BackendError(f"{server.place} serves {', '.join(known) or 'no model'}; name one with 'served'")
    if served is not None and known and served not in known and flavour.names_model:
        raise BackendError(f"{server.place} does not serve '{served}'; {did_you_mean(served, known)}")
    return served or str(known[0])


async def places(server: HttpServer, flavour: Flavour) -> int:
    """How many requests run at once: the slots of a llama-server."""
    if flavour.lora != "scales":
        return MANY
    return int((await server.get("/props")).get("total_slots") or 1)


class Slots:
    """Requests in flight. llama-server does not batch different mixtures, so there they take turns."""

    def __init__(self, parallel: int, *, grouped: bool) -> None:
        self._free = None if grouped else asyncio.Semaphore(parallel)
        self._grouped = MixtureSlots(parallel)

    @asynccontextmanager
    async def held(self, mixture: str, until: float, place: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            waited: AbstractAsyncContextManager[Any] = self._free or self._grouped.slot(mixture)
            try:
                async with asyncio.timeout_at(until):
                    await stack.enter_async_context(waited)
            except TimeoutError:
                raise DeadlineError(
                    f"{place}: the deadline passed in the queue; raise deadline_s or parallel"
                ) from None
            yield
