"""The in-process archive behaves as every archive does."""

from __future__ import annotations

import pytest

from scenepipe.memory.memory import MemoryArchive
from scenepipe.testing.archive_suite import ArchiveFactory, ArchiveSuite


class TestMemoryArchive(ArchiveSuite):
    persistent = False

    @pytest.fixture
    def archive_factory(self) -> ArchiveFactory:
        return lambda name="archive": MemoryArchive()
