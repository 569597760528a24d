"""``scenepipe memory graph``: what lies around a scene or a symbol, as a picture or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenepipe.cli.draw import Language, Scheme, write_drawing
from scenepipe.cli.guard import Refused

if TYPE_CHECKING:
    from scenepipe.contracts import Archive
    from scenepipe.graph import Graph


Centre = Annotated[str, typer.Argument(metavar="ID|SYMBOL", help="Id of a scene, its first characters, or a symbol.")]
Place = Annotated[str, typer.Argument(metavar="PIPELINE|FILE.db", help="A pipeline with a memory, or its .db file.")]
Output = Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Write to FILE.svg instead of stdout.")]
Namespace = Annotated[str, typer.Option(help="Whose scenes a symbol is looked for in.")]
Most = Annotated[int, typer.Option(min=2, max=100, help="Nodes at most.")]


def graph(
    centre: Centre,
    place: Place,
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    namespace: Namespace = "default",
    most: Most = 25,
    language: Annotated[Language | None, typer.Option(help="Of the labels.")] = None,
    scheme: Annotated[Scheme, typer.Option(help="auto follows the reader's light or dark scheme.")] = Scheme.auto,
) -> None:
    """Draw what lies around a scene or a symbol: what stands beside it, comes before and after it, echoes it."""
    from scenepipe.cli.memory_place import with_archive

    _refuse(output, as_json)
    found = with_archive(place, lambda archive: _around(archive, centre, namespace, most))
    if as_json:
        from scenepipe.cli.console import print_json

        print_json(found.model_dump(mode="json"))
        return
    from scenepipe.drawing.graph import draw_graph

    write_drawing(draw_graph(found, language=language.value if language else None, scheme=scheme.value), output)


def _refuse(output: Path | None, as_json: bool) -> None:
    if output is not None and as_json:
        raise Refused("--json is printed, --output is for the picture; give one of them")
    if output is not None and output.suffix.lower() != ".svg":
        raise Refused(f"--output {output}: a graph is drawn as SVG; give a name that ends in .svg")


async def _around(archive: Archive, centre: str, namespace: str, most: int) -> Graph:
    """The scene of this id, else the symbol that a scene of the namespace holds, else the scene whose id begins so."""
    from scenepipe.cli.memory_place import by_prefix
    from scenepipe.neighbourhood import around_scene, around_symbol

    if scenes := await archive.get([centre]):
        return await around_scene(archive, scenes[0], most=most)
    for key in dict.fromkeys((centre, centre.lower())):
        found = await around_symbol(archive, key, namespace=namespace, most=most)
        if found.edges:
            return found
    try:
        scene_id = await by_prefix(archive, centre)
    except Refused as error:
        raise Refused(
            f"no scene of namespace '{namespace}' holds the symbol '{centre}', and as the id of a scene: {error}"
        ) from None
    return await around_scene(archive, (await archive.get([scene_id]))[0], most=most)
