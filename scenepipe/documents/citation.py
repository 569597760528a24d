"""Where a part of a document comes from: what an encounter of kind ``read`` keeps in its data."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from scenepipe.contracts import Encounter, Value


class Citation(Value):
    """The place of a part.

    Args:
        source: the file, as it was given when it was read.
        span: characters of the file's text, or of the row's ``text``.
        sha256: of the file's bytes.
        row: line of a JSONL file, from 1.
        title: of the document, where it names one.
        heading: the nearest one above the part.
    """

    source: str
    span: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
    sha256: str
    row: Annotated[int, Field(ge=1)] | None = None
    title: str | None = None
    heading: str | None = None

    @property
    def place(self) -> str:
        """``notes.md``, or ``notes.jsonl:12`` for a row."""
        return self.source if self.row is None else f"{self.source}:{self.row}"

    def data(self) -> dict[str, Any]:
        """As an encounter keeps it: what is unknown is left out."""
        return self.model_dump(mode="json", exclude_none=True)


def citation_of(encounter: Encounter) -> Citation | None:
    """The citation of an encounter; None where it has none that can be read."""
    try:
        return Citation.model_validate(encounter.data)
    except ValidationError:
        return None
