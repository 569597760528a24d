from __future__ import annotations

import pytest
from pydantic import ValidationError

from scenepipe.errors import ModelError
from scenepipe.models.catalogue import IndexSource, ModelEntry, catalogue, entry


def test_the_default_model_comes_first_and_is_the_one_of_the_design() -> None:
    default = next(iter(catalogue().values()))
    assert default.id == "gemma-3-270m"
    assert default.sha256 == "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
    assert default.size == 253_113_024


@pytest.mark.parametrize("known", catalogue().values(), ids=lambda known: known.id)
def test_every_entry_speaks_both_languages_and_pins_every_wheel(known: ModelEntry) -> None:
    for texts in (known.titles, known.description, known.notice):
        assert texts.keys() == {"ru", "en"}
    assert known.licence_url in known.licence_notice()
    wheels = [wheel for source in known.sources if isinstance(source, IndexSource) for wheel in source.wheels]
    assert wheels
    assert all(wheel.sha256 and wheel.size for wheel in wheels)


def test_an_unknown_id_lists_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"did you mean 'smollm2-135m'\? possible: gemma-3-270m, smollm2-135m"):
        entry("smollm2")


@pytest.mark.parametrize(
    ("field", "value"),
    [("filename", "../evil.gguf"), ("filename", "a/b"), ("sha256", "xyz"), ("sources", []), ("id", "../x")],
)
def test_an_entry_that_could_leave_its_folder_is_refused(field: str, value: object) -> None:
    data = entry("gemma-3-270m").model_dump()
    with pytest.raises(ValidationError):
        ModelEntry.model_validate({**data, field: value})
