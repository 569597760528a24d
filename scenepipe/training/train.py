"""Train a register's LoRA adapter on its own examples, with PEFT and TRL.

Completion-only loss on the scene prompt; each row carries the linkage that its reply unfolds. The evaluation with the
lowest dev loss is kept. A run that was cut short goes on from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenepipe.errors import RegisterError
from scenepipe.register import EXAMPLES_FILE, Register, prompt_and_answer, rows_of
from scenepipe.register import Row as Example
from scenepipe.training.adapter_folder import Trained, folded_weights, write_adapter
from scenepipe.training.curve import Point
from scenepipe.training.rows import Row, encode_rows
from scenepipe.training.settings import TrainSettings

if TYPE_CHECKING:
    from scenepipe.training.trainer import Progress, VoiceTrainer

PACKAGES = ("torch", "transformers", "peft", "trl")


@dataclass(frozen=True)
class Base:
    """The model that is trained on.

    Args:
        id: its catalogue id.
        folder: safetensors weights, config and tokenizer.
        sha256, tokenizer_sha256: of the model as the catalogue knows it; they go into the receipt.
    """

    id: str
    folder: Path
    sha256: str
    tokenizer_sha256: str


def train(
    register: Register, base: Base, settings: TrainSettings, *, resume: bool = True, progress: Progress | None = None
) -> dict[str, Any]:
    """Train and save the adapter; returns its receipt.

    Args:
        resume: go on from the checkpoints of a run with the same data and settings, if there are any.
        progress: called after every step and evaluation.

    Raises:
        RegisterError: nothing to learn from, rows whose labels are all masked, a loss that is no number, a full disk.
    """
    from scenepipe.training.trainer import last_checkpoint, make_trainer

    started = time.monotonic()
    split = _split(register)
    work = _work_folder(register, base, settings, resume=resume)
    checkpoint = last_checkpoint(work)
    model, tokenizer = load_base(base.folder, settings)
    rows = _encoded(tokenizer, split, settings)
    trainer = make_trainer(
        _adapted(model, settings), tokenizer, rows["train"], rows["dev"], settings, work, progress or _silent
    )
    figures: dict[str, Any] = {"dev_loss_base": _loss(trainer, rows["dev"])}
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except OSError as error:
        raise RegisterError(
            f"a checkpoint in {work} could not be written: {error.strerror or error}; make room and run the same "
            "command again, it goes on from the last whole one"
        ) from None
    figures |= {name + "_loss": _loss(trainer, rows[name]) for name in ("dev", "test") if rows[name]}
    figures |= {"steps": trainer.state.global_step, "best_step": trainer.state.best_global_step}
    record = _record(rows, settings, round(time.monotonic() - started), resumed=checkpoint is not None)
    trained = Trained(folded_weights(trainer.model), figures, record, _curve(trainer))
    facts = {"sha256": base.sha256, "tokenizer_sha256": base.tokenizer_sha256}
    receipt = write_adapter(register, base.id, facts, trained, settings)
    shutil.rmtree(work, ignore_errors=True)
    return receipt


def load_base(folder: Path, settings: TrainSettings) -> tuple[Any, Any]:
    """The frozen base and its tokenizer. Only safetensors weights are read."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.set_seed(settings.seed)
    cuda = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    if cuda and not torch.cuda.is_available():
        raise RegisterError("device: cuda was given and torch sees no CUDA device; use device: auto or cpu")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, settings.dtype), attn_implementation="eager", use_safetensors=True
    )
    return model.to("cuda" if cuda else "cpu"), transformers.AutoTokenizer.from_pretrained(folder)


def _split(register: Register) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {"train": [], "dev": [], "test": []}
    for row in rows_of(register):
        if prompt_and_answer(row)[1].strip():
            found[row.split].append(row)
    if not found["train"] or not found["dev"]:
        raise RegisterError(
            f"{register.name}: {EXAMPLES_FILE} needs rows with a reply of split train and of split dev; "
            f"it has {len(found['train'])} and {len(found['dev'])}"
        )
    return found


def _encoded(tokenizer: Any, split: Mapping[str, Sequence[Example]], settings: TrainSettings) -> dict[str, list[Row]]:
    """Rows of each split; echoes stand in the training rows alone, so that dev losses compare."""
    most, seed = settings.max_tokens, settings.seed
    coded = {name: encode_rows(tokenizer, split[name], max_tokens=most) for name in ("dev", "test")}
    share = settings.echo_share
    return coded | {"train": encode_rows(tokenizer, split["train"], max_tokens=most, echo_share=share, seed=seed)}


def _adapted(model: Any, settings: TrainSettings) -> Any:
    import peft

    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scaled_alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        alpha_pattern=dict(settings.alpha_pattern),
        target_modules=list(settings.targets),
        task_type="CAUSAL_LM",
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise RegisterError(f"targets {', '.join(settings.targets)} do not fit this model: {error}") from None


def _work_folder(register: Register, base: Base, settings: TrainSettings, *, resume: bool) -> Path:
    """Where checkpoints lie; emptied where they are of other data, settings or base."""
    work = register.folder / "adapters" / f".{base.id}.training"
    data = hashlib.sha256((register.folder / EXAMPLES_FILE).read_bytes()).hexdigest()
    of = json.dumps({"data": data, "base": base.sha256, "settings": settings.model_dump(mode="json")}, sort_keys=True)
    note = work / "run.json"
    if not (resume and note.is_file() and note.read_text(encoding="utf-8") == of):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        note.write_text(of, encoding="utf-8")
    return work


def _loss(trainer: VoiceTrainer, rows: Sequence[Row]) -> float:
    """Mean loss per learnt token, nats."""
    from scenepipe.training.trainer import dataset

    return round(float(trainer.evaluate(dataset(rows))["eval_loss"]), 4)


def _curve(trainer: VoiceTrainer) -> list[Point]:
    """Losses by step, but for the evaluations before and after training."""
    history = [entry for entry in trainer.state.log_history if entry["step"] > 0]
    last = trainer.state.global_step
    points = [Point(entry["step"], entry.get("loss"), entry.get("eval_loss")) for entry in history]
    dev = {p.step: p.dev for p in reversed(points) if p.dev is not None and p.step < last}
    return [p for p in points if p.train is not None] + [Point(step, None, loss) for step, loss in sorted(dev.items())]


def _record(
    rows: Mapping[str, Sequence[Row]], settings: TrainSettings, seconds: int, *, resumed: bool
) -> dict[str, Any]:
    learnt = sum(row.learnt for row in rows["train"])
    return {
        **settings.model_dump(mode="json"),
        "rows": len(rows["train"]),
        "learnt_tokens": learnt,
        "prompt_tokens": sum(len(row.ids) for row in rows["train"]) - learnt,
        "seconds": seconds,
        "resumed": resumed,
        **{name: version(name) for name in PACKAGES},
    }


def _silent(step: int, steps: int, figures: dict[str, float]) -> None:
    """Nobody watches."""
