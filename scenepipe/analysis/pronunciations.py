"""The pronunciation tables of the packages ``gruut-lang-ru`` and ``gruut-lang-en`` (MIT), read only."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from scenepipe.errors import MissingExtraError, ModelError

_SENSE = re.compile(r"\((\d+)\)$")


def package_version(module: str, what: str) -> str:
    """Version of an installed package of the extra ``[stress]``.

    Raises:
        MissingExtraError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(what, module, "stress")
    from importlib import metadata

    try:
        return metadata.version(module.replace("_", "-"))
    except metadata.PackageNotFoundError:  # a copied folder
        return "unknown"


def pronunciations(module: str) -> Iterator[tuple[str, str]]:
    """Form and phonemes (separated by spaces) of every entry, the first senses of all forms before the second ones.

    Raises:
        ModelError: the table cannot be read.
    """
    import sqlite3

    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "lexicon.db"
    later: list[tuple[str, str]] = []
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as table:
            for form, phonemes in table.execute("SELECT word, phonemes FROM word_phonemes ORDER BY pron_order, id"):
                if form.endswith(")"):
                    later.append((_SENSE.sub("", form), phonemes))
                else:
                    yield form, phonemes
    except sqlite3.Error as error:
        raise ModelError(f"{path} cannot be read ({error}); install {module} again") from None
    yield from later
