"""Environment variables and secrets in the values of a pipeline's YAML."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretBytes, SecretStr

from scenepipe.yaml_source import MAX_BYTES, Path, shown

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>\{))"
)
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_TYPES = (SecretStr, SecretBytes)


class Variables:
    """Fills them in, and remembers where secrets are.

    Args:
        env: None: the variables of the process.
        fault: told of each place that is wrong.
    """

    def __init__(self, env: Mapping[str, str] | None, fault: Callable[[Path, str], None]) -> None:
        self._env = os.environ if env is None else env
        self._fault = fault
        self._read: dict[str, str | None] = {}
        self._substituted = 0
        self.secrets: dict[Path, SecretStr] = {}
        self.around_secrets: set[Path] = set()

    def expand(self, value: Any, path: Path) -> Any:
        """The value with variables and secrets filled in."""
        if isinstance(value, str):
            return self._substitute(value, path)
        if isinstance(value, list):
            return [self.expand(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, dict):
            if set(value) == {"secret"} and isinstance(value["secret"], str):
                return self._secret(value["secret"], path)
            return {key: self.expand(inner, (*path, key)) for key, inner in value.items()}
        return value

    def _substitute(self, text: str, path: Path) -> str:
        if "$" not in text:
            return text

        def replacement(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            if match["bad"]:
                self._fault(path, "'${' begins no variable; write ${NAME} or ${NAME:-default}, and $$ for a dollar")
                return ""
            if self._substituted > MAX_BYTES:
                return ""
            value = self._variable(match["name"], path, default=match["default"])
            self._substituted += len(value)
            return value

        result = _VARIABLE.sub(replacement, text)
        if self._substituted > MAX_BYTES:
            self._fault(path, f"environment variables fill in more than {MAX_BYTES} characters")
        return result

    def _secret(self, name: str, path: Path) -> SecretStr:
        value = ""
        if VARIABLE_NAME.fullmatch(name):
            value = self._variable(name, path)
        else:
            self._fault(
                path, "'secret' takes the NAME of an environment variable (letters, digits and _), not its value"
            )
        self.secrets[path] = SecretStr(value)
        self.around_secrets |= {path[:end] for end in range(len(path) + 1)}
        return self.secrets[path]

    def _variable(self, name: str, path: Path, *, default: str | None = None) -> str:
        if name not in self._read:
            read = self._env.get(name, "")
            self._read[name] = read if _is_text(read) else None
        value = self._read[name]
        if value is None:
            self._fault(path, f"environment variable {shown(name)} does not hold UTF-8 text")
        elif default is None and name not in self._env:
            self._fault(
                path, f"environment variable {shown(name)} is not set; set it, or write ${{{shown(name)}:-default}}"
            )
        return value or default or ""

    def without_secrets(self, message: str) -> str:
        """A plug-in's validator may quote the value it refuses."""
        for value in {secret.get_secret_value() for secret in self.secrets.values()} - {""}:
            message = message.replace(value, "**********")
        return message


def _is_text(value: str) -> bool:
    try:
        return "\0" not in value and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False
