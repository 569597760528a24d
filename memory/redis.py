"""The archive on a Redis server: a log that every process reads along, and answers from what it has read."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import Field, SecretStr

from scenepipe.contracts import Appended, Encounter, Forgotten, Hit, Neighbour, Query, Verification
from scenepipe.errors import ArchiveError
from scenepipe.memory import redis_server
from scenepipe.memory.memory import Change, Name, name_of
from scenepipe.memory.redis_entries import Fields, chat_tag, scene_tag
from scenepipe.memory.redis_log import RedisLog
from scenepipe.memory.worker import Batch, WorkerArchive
from scenepipe.scene import Hypertoken, Scene

if TYPE_CHECKING:
    from redis import Redis

R = TypeVar("R")

_LOG = logging.getLogger("scenepipe.memory")


class RedisArchive(WorkerArchive):
    """Scenes and encounters in two keys of a Redis server, safe for many processes on many machines. Made for chats.

    Every process keeps all records in memory, asks before each call for what is new, and searches in itself as the
    archive ``memory`` does. An append is one transaction, which is planned again where another process was faster;
    appends that wait are written together. After a loss, such as ``FLUSHALL`` or an older backup, what is left counts.

    What the server acknowledges is as durable as its settings: no acknowledged write is lost with ``appendonly yes``
    and ``appendfsync always``. Other settings are named in the log when the archive is opened. Forgetting
    has the server write its files anew; where that is not allowed it says so in the log.

    Args:
        url: ``redis://user@host:6379/0``, ``rediss://`` for TLS or ``unix:///path``; tried with Redis 7.0.
        password: where the server asks for one; it comes before one in ``url``.
        prefix: the keys are ``{<prefix>}:log`` and ``{<prefix>}:records``; one prefix is one archive.
        timeout: seconds until a call to the server fails.
    """

    requires: ClassVar[dict[str, str]] = {"redis": "redis"}

    def __init__(
        self,
        *,
        url: str,
        password: SecretStr | None = None,
        prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")] = "scenepipe",
        timeout: Annotated[int, Field(ge=1, le=3600)] = 30,
    ) -> None:
        super().__init__()
        self.url = url
        self.password = password
        self.prefix = prefix
        self.timeout = timeout
        self.name = f"in Redis ({prefix})"
        self._client: Redis | None = None
        self._log: RedisLog | None = None
        self._runner: asyncio.Runner | None = None

    # --- Opening and closing -----------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Connect and read the log.

        Raises:
            ArchiveError: the server cannot be reached, the keys are another program's or of a newer scenepipe.
        """
        self.name = redis_server.name_of(self.url, self.prefix)
        self._runner = asyncio.Runner()
        self._client = redis_server.connect(self.url, self.password, self.timeout)
        self._log = RedisLog(self._client, name=self.name, prefix=self.prefix, timeout=self.timeout)
        with redis_server.named(self.name):
            self._log.check()
            risks = redis_server.risks(redis_server.settings(self._client))
        for risk in risks:
            _LOG.warning("archive %s: %s", self.name, risk)

    def _close(self) -> None:
        client, self._client, self._log = self._client, None, None
        runner, self._runner = self._runner, None
        if client is not None:
            client.close()
        if runner is not None:
            runner.close()

    def _opened(self) -> RedisLog:
        if self._log is None:
            raise ArchiveError(f"archive {self.name} is closed; await open() first")
        return self._log

    def _guarded(self, function: Callable[..., R], *args: Any) -> R:
        with redis_server.named(self.name):
            return function(*args)

    def _is_outage(self, error: Exception) -> bool:
        return redis_server.is_outage(error.__cause__)

    # --- Writing -----------------------------------------------------------------------------------------------------

    def _write(self, batches: Sequence[Batch]) -> list[Appended]:
        change = self._opened().change(lambda replica: replica.appending(batches))
        if change.gone:
            self._rewrite_files()
        return _shares(batches, change)

    def _forget(self, scene_ids: Sequence[str], at: datetime) -> Forgotten:
        change = self._opened().change(lambda replica: replica.forgetting(scene_ids, at))
        if scene_ids:  # also where an earlier call removed them and then failed
            self._rewrite_files()
        return change.forgotten

    def _rewrite_files(self) -> None:
        try:
            self._guarded(redis_server.rewrite, self._client, self.timeout)
        except ArchiveError as error:
            _LOG.warning(
                "archive %s: what was forgotten is gone from the server, but may still be in its files (%s); "
                "run BGREWRITEAOF and BGSAVE there",
                self.name,
                error,
            )

    def _rebuild(self) -> int:
        return sum(isinstance(record, Scene) for record in self._opened().anew().records.values())

    # --- Reading -----------------------------------------------------------------------------------------------------

    def _get(self, ids: Sequence[str]) -> tuple[Scene, ...]:
        found, tags = self._ask(self._opened().current().get(ids)), {scene_tag(name) for name in ids}
        self._refuse("scene", lambda fields: fields.get("scene") in tags)
        return tuple(found)

    def _find(self, query: Query) -> tuple[Hit, ...]:
        return tuple(self._ask(self._opened().current().find(query)))

    def _encounters(self, scene_ids: Sequence[str] | None) -> tuple[Encounter, ...]:
        found, tags = (
            self._ask(self._opened().current().encounters(scene_ids)),
            {scene_tag(name) for name in scene_ids or ()},
        )
        self._refuse("encounter", lambda fields: scene_ids is None or fields.get("scene") in tags)
        return tuple(found)

    def _chat(self, name: str, namespace: str) -> tuple[Encounter, ...]:
        found, tag = self._ask(self._opened().current().chat(name, namespace=namespace)), chat_tag(name, namespace)
        self._refuse("encounter", lambda fields: fields.get("chat") == tag)
        return tuple(found)

    def _hypertokens(self, namespace: str) -> tuple[Hypertoken, ...]:
        return tuple(self._ask(self._opened().current().hypertokens(namespace)))

    def _neighbours(self, symbols: Sequence[str], namespace: str, limit: int) -> tuple[Neighbour, ...]:
        return tuple(self._ask(self._opened().current().neighbours(symbols, namespace=namespace, limit=limit)))

    def _ask(self, question: Coroutine[Any, Any, R]) -> R:
        assert self._runner is not None
        return self._runner.run(question)

    def _refuse(self, what: str, asked: Callable[[Fields], bool]) -> None:
        """Refuse to answer without an entry that was asked for and cannot be read."""
        replica = self._opened().replica
        broken = [number for number in replica.broken() if replica.fields[number].get("what") == what]
        self._refuse_broken(what, [number for number in broken if asked(replica.fields[number])])

    def _index(self) -> tuple[list[str], list[str]]:
        replica = self._opened().current()
        records = replica.records.items()
        scenes = [(record.id, n) for n, record in records if isinstance(record, Scene)]  # in the order of the log
        log = sorted((record.id, n) for n, record in records if isinstance(record, Encounter))
        ordered = sorted(scenes, key=lambda pair: pair[0])
        return [n for _, n in ordered], [*(n for _, n in log), *replica.broken()]

    def _scenes_at(self, handles: Sequence[str]) -> tuple[list[Scene], list[Any]]:
        records = self._opened().replica.records
        found = [records.get(number) for number in handles]
        return [record for record in found if isinstance(record, Scene)], []

    def _encounters_at(self, handles: Sequence[str]) -> tuple[list[Encounter], list[Any]]:
        """One that is not there any more was forgotten since it was listed."""
        replica = self._opened().replica
        found = [replica.records.get(number) for number in handles]
        broken = [number for number in handles if number in replica.fields and number not in replica.records]
        return [record for record in found if isinstance(record, Encounter)], broken

    def _verify(self) -> Verification:
        replica = self._opened().anew()
        kinds = Counter(fields.get("what") for fields in replica.fields.values())
        return Verification(scenes=kinds["scene"], encounters=kinds["encounter"], faults=tuple(replica.faults()))


def _shares(batches: Sequence[Batch], change: Change) -> list[Appended]:
    """How many records of a change each batch brought first."""
    left: set[Name] = {name_of(record) for record in change.new}
    found = []
    for batch in batches:
        scenes = left & {name_of(scene) for scene in batch.scenes}
        met = left & {name_of(encounter) for encounter in batch.encounters}
        found.append(Appended(scenes=len(scenes), encounters=len(met)))
        left -= scenes | met
    return found
