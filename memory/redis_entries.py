"""A record of an archive in Redis: an entry of the log, and its JSON beside it.

The log is a stream, the JSON stands in a hash under its digest. Measured with Redis 7.0: an entry that was deleted from
a stream stays in memory and in every dump until the hundred entries of its node are gone, too; a field that was deleted
from a hash is gone. So no entry of the log holds any text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from scenepipe.contracts import Encounter
from scenepipe.errors import ArchiveError
from scenepipe.memory.records import digest
from scenepipe.scene import Scene

FORM = 1
"""Form of an entry. One with a greater number was written by a newer scenepipe."""

Fields = Mapping[str, str]


class Entry(NamedTuple):
    """What is written of a record.

    Args:
        fields: ``form``; ``what`` it is; ``record``: the digest under which its JSON stands; ``scene`` and ``chat``:
            digests by which a record that cannot be read is still known; ``removes``: numbers of the entries that went
            with it.
        data: the record as JSON; None when it is not there.
    """

    fields: Fields
    data: str | None


def entry_of(record: Scene | Encounter, removes: Iterable[str] = ()) -> Entry:
    """The entry of a record, which removes these others."""
    if isinstance(record, Scene):
        what, scene, chat, data = "scene", record.id, "", record.to_json(vectors=True)
    else:
        chat = chat_tag(record.chat, record.namespace) if record.chat is not None else ""
        what, scene, data = "encounter", record.scene_id, record.model_dump_json()
    fields = {"form": str(FORM), "what": what, "record": digest(data).hex(), "scene": scene_tag(scene), "chat": chat}
    gone = " ".join(removes)
    return Entry({**fields, "removes": gone} if gone else fields, data)


def scene_tag(scene_id: str) -> str:
    return digest(scene_id).hex()


def chat_tag(chat: str, namespace: str) -> str:
    return digest(namespace, chat).hex()


def record_of(entry: Entry) -> Scene | Encounter:
    """The record of an entry.

    Raises:
        ArchiveError, InputError, ValueError, KeyError: it is not there, or was changed after it was written.
    """
    if form_of(entry.fields) is None:
        raise ArchiveError("another program wrote it")
    if entry.data is None:
        raise ArchiveError("its record is missing")
    if digest(entry.data).hex() != entry.fields["record"]:
        raise ArchiveError("the digest does not match")
    if entry.fields["what"] == "scene":
        return Scene.from_json(entry.data)
    return Encounter.model_validate_json(entry.data)


def form_of(fields: Fields) -> int | None:
    """Form of an entry; None for one that another program wrote."""
    form = fields.get("form", "")
    return int(form) if form.isascii() and form.isdigit() else None
