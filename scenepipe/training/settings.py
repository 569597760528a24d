"""How a register is trained: one validated YAML, the same for CPU and CUDA."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenepipe.errors import ConfigError, Fault

SETTINGS_FILE = "train.yaml"
LARGEST_SETTINGS = 1 << 16
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class TrainSettings(BaseModel):
    """LoRA training of one register. Defaults are those of the shipped voices.

    Args:
        rank, alpha: of every adapted layer; alpha is twice the rank unless given.
        rslora: scale by alpha/sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732); folded into the weights when saved.
        alpha_pattern: alpha by the end of a module's name; folded likewise.
        dropout: of the adapter's input.
        targets: names of the adapted linear layers.
        rate, warmup, epochs, batch, accumulate: AdamW with a cosine schedule; ``warmup`` is a share of the steps, a step
            learns ``batch`` x ``accumulate`` rows.
        evaluations: of the dev loss per epoch; each writes a checkpoint.
        patience: evaluations without a better dev loss before training stops early; the best one is kept in any case.
        echo_share: share of rows whose prompt carries an echo of another row, so that echoes do not change the voice.
        max_tokens: longest row; a longer one is refused, never cut.
        dtype: of the frozen base; adapter and optimizer are float32.
        device: ``auto`` takes CUDA where there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[float, Field(gt=0.0)] | None = None
    rslora: bool = False
    alpha_pattern: dict[str, Annotated[float, Field(gt=0.0)]] = {}
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = TARGETS
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 3e-4
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    epochs: Annotated[int, Field(ge=1, le=1000)] = 2
    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    accumulate: Annotated[int, Field(ge=1, le=1024)] = 1
    evaluations: Annotated[int, Field(ge=1, le=100)] = 2
    patience: Annotated[int, Field(ge=1)] = 3
    echo_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.25
    max_tokens: Annotated[int, Field(ge=16)] = 1024
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def scaled_alpha(self) -> float:
        return self.alpha if self.alpha is not None else 2.0 * self.rank


def read_settings(path: Path) -> TrainSettings:
    """Settings of a YAML file; what it leaves out keeps its default.

    Raises:
        ConfigError: it cannot be read, is no YAML mapping, or has faults; all of them at once.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= LARGEST_SETTINGS else None
        data = yaml.safe_load(text) if text is not None else None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Fault("", f"cannot be read: {error}")], str(path)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([Fault("", f"is not YAML: {str(error).splitlines()[0]}")], str(path)) from None
    if not isinstance(data, dict):
        known = ", ".join(TrainSettings.model_fields)
        raise ConfigError([Fault("", f"a mapping of settings is needed; possible: {known}")], str(path))
    return validated(data, str(path))


def validated(data: Mapping[str, Any], source: str) -> TrainSettings:
    """Settings of a mapping.

    Raises:
        ConfigError: it has faults; all of them at once, under the name ``source``.
    """
    try:
        return TrainSettings.model_validate(data)
    except ValidationError as error:
        faults = [Fault(".".join(map(str, e["loc"])), _message(e["type"], e["msg"])) for e in error.errors()]
        raise ConfigError(faults, source) from None


def _message(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"not a setting; possible: {', '.join(TrainSettings.model_fields)}"
    return message
