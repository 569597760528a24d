"""The log of an archive in Redis, read: all records, and which entry each of them stands in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from scenepipe.contracts import Encounter
from scenepipe.errors import ArchiveError, InputError
from scenepipe.memory import tombstones
from scenepipe.memory.memory import Change, MemoryArchive, Name, name_of
from scenepipe.memory.redis_entries import FORM, Entry, Fields, entry_of, form_of, record_of, scene_tag
from scenepipe.memory.worker import Batch
from scenepipe.scene import Scene


class Replica(MemoryArchive):
    """What the log says up to an entry. Whoever reads the same entries in their order has the same records.

    ``fields`` are those of every entry that is in the log, by its number, ``records`` the records that can be read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self.fields: dict[str, Fields] = {}
        self.records: dict[str, Scene | Encounter] = {}
        self._numbers: dict[Name, str] = {}

    # --- Reading the log ---------------------------------------------------------------------------------------------

    def read(self, number: str, entry: Entry) -> None:
        """Take the next entry of the log. One that cannot be read is kept as broken.

        Raises:
            ArchiveError: a newer scenepipe wrote it.
        """
        form = form_of(entry.fields)
        if form is not None and form > FORM:
            raise ArchiveError(
                f"it was written by a newer scenepipe (form {form}, this one knows {FORM}); upgrade scenepipe"
            )
        self._remove(entry.fields.get("removes", "").split())
        self.last, self.fields[number] = number, entry.fields
        try:
            self._put(number, record_of(entry))
        except (ArchiveError, InputError, ValueError, KeyError):
            return  # listed in `fields` alone

    def _remove(self, numbers: Iterable[str]) -> None:
        known = [number for number in numbers if self.fields.pop(number, None) is not None]
        gone = [self.records.pop(number) for number in known if number in self.records]
        for record in gone:
            del self._numbers[name_of(record)]
        self._drop(gone)

    def _put(self, number: str, record: Scene | Encounter) -> None:
        name = name_of(record)
        if name in self._numbers:
            raise ArchiveError(f"entry {self._numbers[name]} has the same record")
        self.records[number], self._numbers[name] = record, number
        if isinstance(record, Scene):
            self._apply(Change(scenes=[record]))
        elif record.kind == "forgotten":
            self._apply(Change(stones=[record]))
        else:
            self._apply(Change(encounters=[record]))

    # --- Writing to it -----------------------------------------------------------------------------------------------

    def appending(self, batches: Sequence[Batch]) -> Change:
        """What these batches change, together."""
        return self._appending(
            [scene for batch in batches for scene in batch.scenes],
            [encounter for batch in batches for encounter in batch.encounters],
        )

    def forgetting(self, scene_ids: Sequence[str], at: datetime) -> Change:
        return self._forgetting(scene_ids, at)

    def entries_of(self, change: Change) -> tuple[list[Entry], list[str]]:
        """The entries to be written for a change, and the numbers of those that go, which the first of them names.

        Broken entries go with the scene that they say they are of.
        """
        buried = {scene_tag(stone.scene_id) for stone in change.stones}
        gone = [self._numbers[name_of(record)] for record in change.gone]
        gone += [number for number in self.broken() if self.fields[number].get("scene") in buried]
        return [entry_of(record, () if n else gone) for n, record in enumerate(change.new)], gone

    # --- What is wrong with it ---------------------------------------------------------------------------------------

    def broken(self) -> list[str]:
        """Numbers of the entries that cannot be read."""
        return [n for n in self.fields if n not in self.records] if len(self.records) < len(self.fields) else []

    def faults(self) -> list[str]:
        """What is wrong with the entries, each with its number."""
        found = [f"entry {number}: damaged" for number in self.broken()]
        for number, record in self.records.items():
            if isinstance(record, Scene):
                forgotten, missing = tombstones.buried(record.id, record.created, self._graves), False
            elif record.kind == "forgotten":
                continue
            else:
                forgotten = tombstones.buried(record.scene_id, record.at, self._graves)
                missing = record.scene_id not in self._scenes
            found += [f"entry {number}: it was forgotten"] if forgotten else []
            found += [f"entry {number}: its scene is missing"] if missing else []
        return found
