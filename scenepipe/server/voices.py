"""Who can be asked by name: the pipeline, the base, each register, and every mixture of them.

quickstart                 the pipeline: the scene chooses its mixture
base                       the model alone
poet                       one register
poet@0.6+logician@0.4      a mixture, as `Mixture.id` writes it
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from scenepipe.errors import MixtureError, did_you_mean
from scenepipe.mixture import Mixture, Reason, parse
from scenepipe.pipeline import Pipeline
from scenepipe.server.problem import ApiError, invalid

BASE = "base"
MOST_PARTS = 16


class Voices:
    """The model ids of one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline.name
        self._made = int(time.time())
        registers = pipeline.resources.registers
        self.registers = {name: each for name, each in registers.items() if each.kind == "voice"}

    @property
    def names(self) -> tuple[str, ...]:
        """The ids that are listed; mixtures are beyond counting."""
        return tuple(dict.fromkeys((self.pipeline, BASE, *self.registers)))

    def mixture(self, model: str | None) -> Mixture | None:
        """What a model id asks for; None where the pipeline chooses.

        Raises:
            ApiError: 404 for an id that names nothing here, 400 for weights that make no mixture.
        """
        if model is None or model == self.pipeline:
            return None
        parts = [part.partition("@")[0] for part in model.split("+")]
        unknown = [part for part in parts if part not in self.registers]
        if model != BASE and unknown:
            raise self._no_such(model, unknown[0])
        if len(parts) > MOST_PARTS:
            raise invalid(f"a mixture has at most {MOST_PARTS} registers", "model", "invalid_mixture")
        try:
            found = parse(model)
        except MixtureError as error:
            raise invalid(str(error), "model", "invalid_mixture") from None
        reasons = {name: (Reason(cause="given by the caller", amount=w),) for name, w in found.weights.items()}
        return found.model_copy(update={"reasons": reasons})

    def known(self, model: str) -> dict[str, Any]:
        """The model object of an id.

        Raises:
            ApiError: see `mixture`.
        """
        self.mixture(model)
        return self._object(model)

    def listed(self) -> dict[str, Any]:
        """The list of ``GET /v1/models``."""
        return {"object": "list", "data": [self._object(name) for name in self.names]}

    def _object(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {"id": name, "object": "model", "created": self._made, "owned_by": "scenepipe"}
        found["root"] = self.pipeline
        found["parent"] = None if name == self.pipeline else self.pipeline
        if name in self.registers:
            found["scenepipe"] = _card(self.registers[name])
        return found

    def _no_such(self, model: str, part: str) -> ApiError:
        shown = part[:80]
        hint = did_you_mean(shown, self.names)
        message = f"there is no model '{shown}' here; {hint}, or a mixture such as poet@0.6+logician@0.4"
        return ApiError(404, message, param="model", code="model_not_found")


def _card(register: Any) -> Mapping[str, Any]:
    return {"titles": dict(register.titles), "emoji": register.emoji, "symbol": register.symbol}
