"""``rule-scene``: the SceneBuilder without a language model. Every figure comes with its evidence, or is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from scenepipe.analysis.builder import SceneBuilder, SceneText
from scenepipe.analysis.cooccurrence import MOST_NEIGHBOURS, Beside, asked, beside, keys_of
from scenepipe.analysis.lexicon import Lexicon
from scenepipe.context import Context, Resources
from scenepipe.contracts import Archive
from scenepipe.errors import ConfigError
from scenepipe.folding.named import spoken_back
from scenepipe.option_ranges import range_faults
from scenepipe.scene import Language, Scene

MOST_ASSOCIATIONS = 12


class RuleScene:
    """Language and symbols to hyperscene, linkage, rhythm, emotion, tension, field and Δ-code.

    With an encoder, associations look at the whole text and there is a Δ-code; without one, both come from words alone
    and ``delta`` stays unknown. With an archive, what stood beside the text's symbols in two or more earlier scenes of the
    namespace is associated too (origin ``archive``); the Δ-code never hangs on it. A text that calls a hypertoken by name
    has its chain for a linkage.

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
    uses: ClassVar[frozenset[str]] = frozenset({"archive"})
    requires: ClassVar[dict[str, str]] = {}
    version: ClassVar[str] = "1"

    def __init__(
        self,
        *,
        associations: Annotated[int, Field(ge=0, le=MOST_ASSOCIATIONS)] = 3,
        stress: Literal["off", "dictionary"] = "off",
        batch_size: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        if faults := range_faults(RuleScene, locals()):
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
        """Each scene with its reading; the encoder is called once for all.

        Raises:
            ArchiveError: the archive cannot be read.
        """
        if self._builder is None:
            self.open(ctx.resources)
        assert self._builder is not None
        found = self._beside(scenes, ctx)
        items = [
            SceneText(scene.text, scene.language or Language(), scene.symbols or (), beside)
            for scene, beside in zip(scenes, found, strict=True)
        ]
        readings = self._builder.read(items)
        return [spoken_back(scene.with_(**vars(reading))) for scene, reading in zip(scenes, readings, strict=True)]

    def _beside(self, scenes: Sequence[Scene], ctx: Context) -> list[tuple[Beside, ...]]:
        archive = ctx.resources.archive
        if archive is None or self._associations == 0:
            return [()] * len(scenes)
        assert self._builder is not None
        return ctx.wait(_all_beside(archive, scenes, self._builder.lexicon))


async def _all_beside(archive: Archive, scenes: Sequence[Scene], lexicon: Lexicon) -> list[tuple[Beside, ...]]:
    return [await _beside_of(archive, scene, lexicon) for scene in scenes]


async def _beside_of(archive: Archive, scene: Scene, lexicon: Lexicon) -> tuple[Beside, ...]:
    """What the archive has met beside the scene's strongest symbols."""
    symbols, space = scene.symbols or (), scene.origin.namespace
    found = [
        (symbol, await archive.neighbours(keys_of(symbol, lexicon), namespace=space, limit=MOST_NEIGHBOURS))
        for symbol in asked(symbols)
    ]
    code = scene.language.code if scene.language is not None else "und"
    return beside(found, symbols, code if code != "und" else "en", lexicon)
