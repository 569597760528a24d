"""Shared by all tests: the user's folders are moved away, nothing may be fetched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from scenepipe.models.catalogue import LocalModel

_PARTS = [f"backend_suite_{part}" for part in ("draws", "mixtures", "reply", "time")]
for suite in ("archive_suite", "backend_suite", *_PARTS, "register_suite", "stage_suite"):
    pytest.register_assert_rewrite(f"scenepipe.testing.{suite}")

os.environ["HF_HUB_OFFLINE"] = "1"

_BUSY = [HealthCheck.too_slow]  # says how busy the machine is, not how good a test
settings.register_profile("short", max_examples=40, deadline=None, suppress_health_check=_BUSY)
settings.register_profile("soak", max_examples=1000, deadline=None, suppress_health_check=_BUSY)
settings.load_profile("soak" if "SCENEPIPE_SOAK" in os.environ else "short")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives of a test live in its own folder; the model cache stays where it is."""
    monkeypatch.setenv("SCENEPIPE_HOME", str(tmp_path / "scenepipe-home"))


@pytest.fixture(scope="session")
def local_model() -> LocalModel:
    """The default model, already on disk: ``make test`` pulls it before the tests start."""
    from scenepipe.models.fetch import local

    model = local("gemma-3-270m")
    assert model is not None, "the default model is not on this disk: scenepipe model pull gemma-3-270m"
    return model
