"""The archive in a PostgreSQL database. `postgres_schema` makes its tables and says what the server's errors mean."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated, ClassVar

import sqlalchemy as sa
from pydantic import Field, SecretStr

from scenepipe.errors import ArchiveError
from scenepipe.memory import postgres_schema
from scenepipe.memory.sql_archive import SqlArchive

_DRIVERS = ("postgresql", "postgresql+psycopg", "postgres")


class PostgresArchive(SqlArchive):
    """Scenes and encounters in one schema of a PostgreSQL database, safe for many processes on many machines.

    One writer at a time, by an advisory lock of the schema. Appends that wait are committed together. A connection
    that the server dropped is made again at the next call. Vectors are searched exactly, in this process.

    Args:
        url: ``postgresql://user@host:port/database``.
        password: of the user, where the server asks for one and neither ``PGPASSWORD`` nor a password file has it.
        schema: the schema that holds the tables; it is made when it is missing. One schema is one archive.
    """

    requires: ClassVar[dict[str, str]] = {"psycopg": "postgres"}

    def __init__(
        self,
        *,
        url: str,
        password: SecretStr | None = None,
        schema: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = "scenepipe",
    ) -> None:
        super().__init__()
        self.url = url
        self.password = password
        self.schema = schema
        self.name = f"schema {schema}"

    def _open(self) -> None:
        url = self._address()
        self.name = f"{url.render_as_string(hide_password=True)} (schema {self.schema})"
        engine = sa.create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
        self._engine = engine.execution_options(schema_translate_map={None: self.schema})
        with self._named():
            postgres_schema.prepare(self._engine, self.schema)
        self._clean_later()

    def _address(self) -> sa.URL:
        """The URL with the driver that the extra installs.

        Raises:
            ArchiveError: it is no URL of a PostgreSQL database.
        """
        try:
            url = sa.make_url(self.url)
        except sa.exc.ArgumentError:
            raise ArchiveError("'url' of the archive is no URL; give postgresql://user@host/database") from None
        if url.drivername not in _DRIVERS:
            raise ArchiveError(
                f"'url' of the archive names '{url.drivername}'; give postgresql://user@host/database "
                "(the driver is psycopg 3)"
            )
        if self.password is not None:
            url = url.set(password=self.password.get_secret_value())
        return url.set(drivername="postgresql+psycopg")

    def _reading(self) -> AbstractContextManager[sa.Connection]:
        return postgres_schema.reading(self._opened())

    def _writing(self) -> AbstractContextManager[sa.Connection]:
        return postgres_schema.writing(self._opened(), self.schema)

    def _named(self) -> AbstractContextManager[None]:
        return postgres_schema.named(self.name)

    def _is_outage(self, error: Exception) -> bool:
        return postgres_schema.is_outage(error.__cause__)

    def _scrub(self, unclean: int) -> None:
        postgres_schema.scrub(self._opened(), self.schema)

    def _check(self, connection: sa.Connection) -> list[str]:
        """PostgreSQL checks its own pages; the digests of the records are checked for every store alike."""
        return []
