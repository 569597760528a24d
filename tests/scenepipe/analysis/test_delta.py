"""Δ-codes and the codebook."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import scenepipe.analysis.data as data
from scenepipe.analysis.builder import SceneBuilder, SceneReading, SceneText
from scenepipe.analysis.codebook import CELLS, parse_codebook, shipped_codebook
from scenepipe.analysis.delta import place
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.reading import read_text
from scenepipe.analysis.signed_bytes import cosines
from scenepipe.analysis.vectors import load_vectors
from scenepipe.errors import ModelError
from scenepipe.rooms import room
from scenepipe.scene import Delta
from scenepipe.testing.hash_encoder import HashEncoder

Read = Callable[..., list[SceneReading]]
FOLDER = Path(data.__file__).parent


def delta(read: Read, text: str) -> Delta:
    found = read(text)[0].delta
    assert found is not None
    return found


@pytest.mark.parametrize(
    "variant",
    ["ЗАЧЕМ ЕЖ МОЛЧИТ, «КОГДА» ТЕМНО?", 'заче́м ёж молчит, "когда" темно?', "Зачем  ёж мол\u00adчит, „когда“ темно?"],
)
def test_case_yo_quotes_and_stress_change_nothing(read: Read, variant: str) -> None:
    assert delta(read, variant) == delta(read, "Зачем ёж молчит, «когда» темно?")


def test_a_code_has_margin_alternative_and_gloss(read: Read) -> None:
    found = delta(read, "Почему я не чувствую шаг в себе?")
    assert 0 <= found.code < CELLS
    assert found.alternative != found.code
    assert 0 < found.margin < 1
    assert set(found.gloss) == {"ru", "en"}
    assert str(found) == f"Δ{found.code}@c1"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Мне страшно", "Мне не страшно"),
        ("дрожь тишина вход", "вход тишина дрожь"),
        ("It will rain", "It will not rain"),
        ("None of these keys fits", "Any of these keys fits"),
    ],
)
def test_denial_and_order_are_in_the_linkage_whatever_the_code(read: Read, one: str, other: str) -> None:
    left, right = read(one, other)
    assert left.linkage != right.linkage
    assert left.linkage.text != right.linkage.text


def test_translations_of_words_mostly_share_a_code(read: Read) -> None:
    pairs = [(entry.ru, entry.en) for entry in shipped_lexicon().symbols]
    russian, english = read(*(ru for ru, _ in pairs)), read(*(en for _, en in pairs))
    same = sum(a.delta is not None and b.delta is not None and a.delta.code == b.delta.code
               for a, b in zip(russian, english, strict=True))  # fmt: skip
    assert same >= 0.5 * len(pairs)


def test_one_word_less_mostly_keeps_the_code_or_its_alternative(read: Read) -> None:
    lines = (room("registers") / "philosopher" / "examples.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines][:100]
    whole, less = read(*texts), read(*(" ".join(text.split()[:-2] + text.split()[-1:]) for text in texts))
    kept = sum(a.delta is not None and b.delta is not None and b.delta.code in (a.delta.code, a.delta.alternative)
               for a, b in zip(whole, less, strict=True))  # fmt: skip
    assert kept >= 0.8 * len(texts)


def test_equal_cells_give_the_lower_code() -> None:
    book = shipped_codebook()
    assert book is not None
    twins = book.centroids.copy()
    twins[40] = twins[7]
    changed = type(book)(manifest=book.manifest, centroids=twins, projection=book.projection)
    (found,) = place(twins[7:8], changed)
    assert (found.code, found.alternative, found.margin) == (7, 40, 0.0)


def test_near_numbers_are_near_cells() -> None:
    book = shipped_codebook()
    assert book is not None
    between = cosines(book.centroids, book.centroids)
    assert np.diagonal(between, offset=1).mean() > 1.5 * between[np.triu_indices(CELLS, k=1)].mean()


def test_every_cell_has_texts_and_a_gloss_in_both_languages() -> None:
    book = shipped_codebook()
    assert book is not None
    assert all(cell.texts and cell.ru and cell.en for cell in book.manifest.cells)


def test_without_its_encoder_there_is_no_code(read_words: Read) -> None:
    assert read_words("Мне страшно")[0].delta is None
    lexicon, other = shipped_lexicon(), HashEncoder(dim=32)
    builder = SceneBuilder(lexicon, encoder=other, vectors=load_vectors(other, lexicon), codebook=shipped_codebook())
    assert builder.read([SceneText("Мне страшно", *read_text("Мне страшно"))])[0].delta is None


def test_a_codebook_that_does_not_fit_its_manifest_is_refused() -> None:
    manifest, tensors = (FOLDER / "c1.json").read_bytes(), (FOLDER / "c1.safetensors").read_bytes()
    assert parse_codebook(manifest, tensors, "c1").name == "c1"
    with pytest.raises(ModelError, match="SHA-256"):
        parse_codebook(manifest, tensors[:-1] + b"\1", "c1")
    with pytest.raises(ModelError, match="damaged"):
        parse_codebook(manifest[:100], tensors, "c1")


def test_an_unknown_codebook_is_none() -> None:
    assert shipped_codebook("c999") is None
