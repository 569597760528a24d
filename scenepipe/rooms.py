"""Where the shipped data rooms are: ``registers`` and ``pipelines``.

In an installed wheel they lie inside the package, in a checkout beside it; nothing else is looked at.
"""

from __future__ import annotations

from pathlib import Path

from scenepipe.errors import ConfigError, Fault, did_you_mean

ROOMS = ("registers", "pipelines")
PIPELINE_SUFFIXES = (".yaml", ".yml")


def room(name: str) -> Path:
    """Folder of a data room.

    Raises:
        ValueError: there is no such room.
        FileNotFoundError: the installation has lost it.
    """
    if name not in ROOMS:
        raise ValueError(f"room {name!r}; {did_you_mean(name, ROOMS)}")
    package = Path(__file__).parent
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the room '{name}' is neither in {package} nor beside it; install scenepipe again")


def shipped_pipelines() -> dict[str, Path]:
    """The shipped pipelines by name, sorted."""
    return {path.stem: path for path in sorted(room("pipelines").iterdir()) if path.suffix in PIPELINE_SUFFIXES}


def find_pipeline(given: str) -> Path:
    """A pipeline file from a path or the name of a shipped one; what looks like a path is only ever a path.

    Raises:
        ConfigError: there is no such file and no such name.
    """
    path = Path(given).expanduser()
    looks_like_path = path.suffix in PIPELINE_SUFFIXES or len(path.parts) != 1
    if looks_like_path or path.is_file():
        return _existing(path, given)
    shipped = shipped_pipelines()
    if given not in shipped:
        message = f"there is no file '{given}' and no shipped pipeline of that name; {did_you_mean(given, shipped)}"
        raise ConfigError([Fault("", message)], given)
    return shipped[given]


def _existing(path: Path, given: str) -> Path:
    if not path.is_file():
        what = "is a folder, give the YAML file in it" if path.is_dir() else "does not exist; check the path"
        raise ConfigError([Fault("", f"the file {what}")], given)
    return path
