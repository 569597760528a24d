"""Every phrase that the shipped stages give as a reason has its Russian; a new one is noticed here."""

from __future__ import annotations

import pytest

from scenepipe.analysis.tension import MOST
from scenepipe.cli.labels import said
from scenepipe.contracts import Query
from scenepipe.recall import reasons
from scenepipe.scene import Linkage, Symbol, new_scene


@pytest.mark.parametrize("cause", sorted(MOST))
def test_causes_of_tension(cause: str) -> None:
    assert said(cause, "ru") != cause


def test_reasons_of_recall() -> None:
    scene = new_scene("Шаг").with_(
        symbols=(Symbol(lemma="дом", language="ru"), Symbol(lemma="шаг", language="ru")),
        linkage=Linkage(chain=("шаг",)),
    )
    queries = [
        Query(scene_id=scene.id),
        Query(key=scene.key),
        Query(linkage=("шаг",)),
        Query(symbols=("дом", "не:шаг")),
    ]
    given = {reason for query in queries for reason in reasons(query, scene, similarity=0.6)}
    assert len(given) >= 5
    assert all(said(reason, "ru") != reason for reason in given)
