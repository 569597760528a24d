"""``scenepipe schema``: the JSON Schema of the pipeline YAML, for editors."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON Schema of the pipeline YAML, with the options of every installed name."""
    from scenepipe.cli.console import print_json
    from scenepipe.schema import json_schema

    print_json(json_schema())
