"""``rule-scene``: the SceneBuilder without a language model. Every figure comes with its evidence, or is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from scenepipe.analysis.builder import SceneBuilder, SceneText
from scenepipe.contracts import Context, Resources
from scenepipe.errors import ConfigError, Fault
from scenepipe.scene import Language, Scene

MOST_ASSOCIATIONS = 12


class RuleScene:
    """Language and symbols to hyperscene, linkage, rhythm, emotion, tension, field and Δ-code.

    With an encoder, associations look at the whole text and there is a Δ-code; without one, both come from words alone
    and ``delta`` stays unknown.

    Args:
        associations: associated symbols in the hyperscene, 0 to 12; the linkage draws on them.
        stress: ``dictionary`` reads stress, metre and rhyme with the packages of ``[stress]``; ``off`` reads the text's own
            stress marks alone.
        batch_size: scenes read at once.

    Raises:
        ConfigError: ``associations`` or ``batch_size`` is out of range.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"language", "symbols"})
    writes: ClassVar[frozenset[str]] = frozenset(
        {"hyperscene", "linkage", "rhythm", "emotion", "tension", "field", "delta", "analysis"}
    )
    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    requires: ClassVar[dict[str, str]] = {}
    version: ClassVar[str] = "1"

    def __init__(
        self, *, associations: int = 3, stress: Literal["off", "dictionary"] = "off", batch_size: int = 64
    ) -> None:
        faults = []
        if not 0 <= associations <= MOST_ASSOCIATIONS:
            faults.append(Fault("associations", f"{associations} was given; possible: 0 to {MOST_ASSOCIATIONS}"))
        if batch_size < 1:
            faults.append(Fault("batch_size", f"{batch_size} was given; it must be at least 1"))
        if faults:
            raise ConfigError(faults, "rule-scene")
        self.batch_size = batch_size
        self._associations = associations
        self._stress = stress
        self._builder: SceneBuilder | None = None

    def open(self, resources: Resources) -> None:
        """Load the lexicon, its vectors for this encoder, and the codebook.

        Raises:
                ConfigError, ModelError: a data file is damaged.
            MissingExtraError: the packages of ``[stress]`` are not installed.
        """
        from scenepipe.analysis.codebook import shipped_codebook
        from scenepipe.analysis.lexicon import shipped_lexicon
        from scenepipe.analysis.stress import open_stresser

        lexicon, encoder = shipped_lexicon(), resources.encoder
        vectors: Any = None
        if encoder is not None:
            from scenepipe.analysis.vectors import load_vectors

            vectors = load_vectors(encoder, lexicon)
        self._builder = SceneBuilder(
            lexicon,
            encoder=encoder,
            vectors=vectors,
            codebook=shipped_codebook(),
            associations=self._associations,
            stresser=open_stresser(self._stress),
        )

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        """Each scene with its reading; the encoder is called once for all."""
        if self._builder is None:
            self.open(ctx.resources)
        assert self._builder is not None
        items = [
            SceneText(text=scene.text, language=scene.language or Language(), symbols=scene.symbols or ())
            for scene in scenes
        ]
        readings = self._builder.read(items)
        return [scene.with_(**vars(reading)) for scene, reading in zip(scenes, readings, strict=True)]
