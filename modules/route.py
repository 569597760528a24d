"""``route``: the scene chooses its mixture of registers, with a reason for every weight."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from scenepipe.context import Context, Resources
from scenepipe.errors import ConfigError, Fault
from scenepipe.mixture import Mixture, Reason, of
from scenepipe.option_ranges import range_faults
from scenepipe.scene import Scene

if TYPE_CHECKING:
    from scenepipe.routing.router import Router


class Route:
    """Scene to mixture: each register's fit is learned from its own examples when the pipeline opens.

    Registers share by fit; the base has what the best fit leaves, so where nothing fits it speaks itself.

    Args:
        mixture: fixed weights instead of a choice, for example ``{poet: 0.6}``.
        temperature: how evenly registers share, above 0: small, and the best takes all; chosen on the registers' dev
            rows otherwise.
        base: weight of the base in every mixture, 0 to 1; left open otherwise.
        batch_size: scenes scored at once.

    Raises:
        MixtureError: ``mixture`` is no mixture.
        ConfigError: another option is out of range, or does nothing beside ``mixture``.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"field", "language", "symbols", "emotion", "tension", "rhythm"})
    writes: ClassVar[frozenset[str]] = frozenset({"registers"})
    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    version: ClassVar[str] = "1"

    def __init__(
        self,
        *,
        mixture: dict[str, float] | None = None,
        temperature: Annotated[float, Field(gt=0.0, le=10.0)] | None = None,
        base: Annotated[float, Field(ge=0.0, le=1.0)] | None = None,
        batch_size: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        faults = range_faults(Route, locals())
        for name, value in (("temperature", temperature), ("base", base)):
            if mixture is not None and value is not None:
                faults.append(Fault(name, "it does nothing beside a fixed 'mixture'; leave one of them out"))
        if faults:
            raise ConfigError(faults, "route")
        self.batch_size = batch_size
        self._fixed = _with_reasons(of(mixture)) if mixture is not None else None
        self._temperature, self._base = temperature, base
        self._router: Router | None = None

    def open(self, resources: Resources) -> None:
        """Learn from every voice's examples; what was read of their inputs is kept in the user's cache.

        Raises:
            RegisterError: a register's examples cannot be read.
            ConfigError: ``mixture`` names a register that is no voice.
        """
        voices = {name: each for name, each in resources.registers.items() if each.kind == "voice"}
        if self._fixed is not None:
            _must_be_voices(self._fixed, resources.registers.keys() - voices)
            return
        from scenepipe.models.store import cache_dir
        from scenepipe.routing.router import train_router

        self._router = train_router(
            voices, resources.encoder, cache_dir(), temperature=self._temperature, base=self._base
        )

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        """A mixture for every scene that the caller has not given one."""
        asked = [scene for scene in scenes if scene.registers is None]
        chosen = iter(self._choose(asked, ctx))
        return [scene if scene.registers is not None else scene.with_(registers=next(chosen)) for scene in scenes]

    def _choose(self, scenes: Sequence[Scene], ctx: Context) -> list[Mixture]:
        if self._fixed is not None:
            return [self._fixed] * len(scenes)
        if self._router is None:
            self.open(ctx.resources)
        assert self._router is not None
        return self._router.mixtures(scenes)


def _must_be_voices(fixed: Mixture, others: Collection[str]) -> None:
    said = "{} reads scenes and speaks no replies; name it as 'adapter:' of llm-scene and leave it out here"
    if faults := [Fault(f"mixture.{name}", said.format(name)) for name in fixed.weights if name in others]:
        raise ConfigError(faults, "route")


def _with_reasons(fixed: Mixture) -> Mixture:
    given = {name: (Reason(cause="fixed in the pipeline", amount=weight),) for name, weight in fixed.weights.items()}
    return fixed.model_copy(update={"reasons": given})
