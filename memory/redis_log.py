"""The two keys of an archive in Redis: how what is new is read, and how a change is written."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from scenepipe.errors import ArchiveError
from scenepipe.memory.memory import Change
from scenepipe.memory.redis_entries import Entry, form_of
from scenepipe.memory.redis_replica import Replica

if TYPE_CHECKING:
    from redis import Redis

_PAGE = 200
_PAUSE = 0.01
_READINGS = 3
_NEW = """
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
for _, entry in ipairs(entries) do
  for n = 1, #entry[2], 2 do
    if entry[2][n] == 'record' then entry[3] = redis.call('HGET', KEYS[2], entry[2][n + 1]) end
  end
end
return {redis.call('XLEN', KEYS[1]), entries}
"""
"""How long the log is, and its entries from a number on, each with its JSON: one moment of both keys."""


class RedisLog:
    """A log and what was read of it.

    Args:
        name: what messages call the archive by.
        prefix: see `scenepipe.memory.redis.RedisArchive`.
        timeout: seconds after which a write gives way to others.
    """

    def __init__(self, client: Redis, *, name: str, prefix: str, timeout: float) -> None:
        self.name = name
        self.replica = Replica()
        self._client: Any = client  # whose types say of every answer that it is bytes, text or awaitable
        self._timeout = timeout
        self._entries, self._records = f"{{{prefix}}}:log", f"{{{prefix}}}:records"

    def check(self) -> None:
        """Read all of it.

        Raises:
            ArchiveError: the keys are another program's, or a newer scenepipe's.
        """
        theirs = f"archive {self.name}: key %s is another program's (a %s); give another 'prefix'"
        for key, kind in ((self._entries, "stream"), (self._records, "hash")):
            found = self._client.type(key).decode()
            if found not in (kind, "none"):
                raise ArchiveError(theirs % (key, found))
        fields = self.current().fields.values()
        if fields and all(form_of(each) is None for each in fields):
            raise ArchiveError(theirs % (self._entries, "stream"))

    # --- Reading -----------------------------------------------------------------------------------------------------

    def current(self) -> Replica:
        """All records as of this moment."""
        self._read(self._client)
        return self.replica

    def anew(self) -> Replica:
        """The same, every entry read again."""
        self.replica = Replica()
        return self.current()

    def _read(self, client: Any) -> None:
        """Read what is new; where entries that were read are gone without a trace, read all of it again."""
        for _ in range(_READINGS):
            if self._read_on(client):
                return
            self.replica = Replica()
        raise ArchiveError(
            f"archive {self.name}: key {self._entries} changes as no scenepipe changes it; see who else writes there"
        )

    def _read_on(self, client: Any) -> bool:
        """Whether the log is still the one that was read before."""
        while True:
            last = self.replica.last
            length, rows = client.eval(_NEW, 2, self._entries, self._records, last or "-", _PAGE)
            found = [(number.decode(), _entry(fields, data[0] if data else None)) for number, fields, *data in rows]
            if last and [(number, entry.fields) for number, entry in found[:1]] != [(last, self.replica.fields[last])]:
                return False
            for number, entry in found[1:] if last else found:
                self._take(number, entry)
            if len(rows) < _PAGE:
                return bool(length == len(self.replica.fields))

    def _take(self, number: str, entry: Entry) -> None:
        try:
            self.replica.read(number, entry)
        except ArchiveError as error:
            raise ArchiveError(f"archive {self.name}: {error}") from None

    # --- Writing -----------------------------------------------------------------------------------------------------

    def change(self, plan: Callable[[Replica], Change]) -> Change:
        """Write what a plan makes of the newest state; where another process was faster, it is asked again.

        Raises:
            ArchiveError: others were faster again and again.
        """
        from redis.exceptions import WatchError

        end = time.monotonic() + self._timeout
        with self._client.pipeline() as pipe:
            while time.monotonic() < end:
                try:
                    pipe.watch(self._entries)
                    self._read(pipe)
                    change = plan(self.replica)
                    self._write(pipe, *self.replica.entries_of(change))
                    return change
                except WatchError:  # a connection that was lost while it watched says so, too
                    time.sleep(random.random() * _PAUSE)  # noqa: S311
        raise ArchiveError(f"archive {self.name}: others wrote without a break for {self._timeout:g} s; write again")

    def _write(self, pipe: Any, entries: Sequence[Entry], gone: Sequence[str]) -> None:
        """One transaction: all of it is there, or nothing."""
        if not entries:
            return
        pipe.multi()
        if gone:
            pipe.hdel(self._records, *(self.replica.fields[number].get("record", "") for number in gone))
            pipe.xdel(self._entries, *gone)
        pipe.hset(self._records, mapping={entry.fields["record"]: entry.data or "" for entry in entries})
        for entry in entries:
            pipe.xadd(self._entries, entry.fields)
        for number, entry in zip(pipe.execute()[-len(entries) :], entries, strict=True):
            self.replica.read(number.decode(), entry)


def _entry(fields: Sequence[bytes], data: bytes | None) -> Entry:
    words = [word.decode(errors="replace") for word in fields]
    return Entry(dict(zip(words[::2], words[1::2], strict=True)), data.decode(errors="replace") if data else None)
