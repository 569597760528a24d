"""TRL's SFTTrainer with four additions: a loss that is no number stops at once, checkpoints hold no pickle, a progress
callback sees every step, and on a CPU the head is applied to the learnt positions alone. Importing this module imports
torch, transformers and trl.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from scenepipe.errors import RegisterError
from scenepipe.training.checkpoint import STATE_FILE, load_optimizer, load_random, save_state
from scenepipe.training.rows import IGNORED, Row
from scenepipe.training.settings import TrainSettings

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (step, steps, figures): ``loss`` after a step, ``eval_loss`` after an evaluation."""


class VoiceTrainer(SFTTrainer):  # type: ignore[misc]
    """See the module."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            rate = self.args.learning_rate
            raise RegisterError(
                f"the loss is {loss.item()} in step {self.state.global_step + 1}; lower the rate ({rate:g} was given), "
                "or use dtype: float32"
            )
        return loss

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Mean cross-entropy (nats) over the learnt tokens.

        TRL 1.16 does the same on CUDA and scores every position elsewhere; with a vocabulary of 262,144 pieces the head
        is most of a small model's arithmetic.
        """
        base = self.accelerator.unwrap_model(model).get_base_model()
        if inputs["input_ids"].is_cuda or kwargs.get("return_outputs") or not _plain_head(base.config):
            return super().compute_loss(model, inputs, *args, **kwargs)
        backbone = getattr(base, base.base_model_prefix)
        states = backbone(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        target = inputs["labels"][:, 1:]
        learnt = target != IGNORED
        logits = base.get_output_embeddings()(states.last_hidden_state[:, :-1][learnt]).float()
        count = kwargs.get("num_items_in_batch") or learnt.sum()
        return torch.nn.functional.cross_entropy(logits, target[learnt], reduction="sum") / count

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No generated card: a register has its own README."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        (Path(output_dir or self.args.output_dir) / "training_args.bin").unlink(missing_ok=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        save_state(Path(output_dir), self.optimizer, self.lr_scheduler)

    def _save_rng_state(self, output_dir: str) -> None:
        """`save_state` has written it."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_optimizer(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_random(Path(checkpoint))


def _plain_head(config: Any) -> bool:
    """Whether logits are the head's output as it is, neither capped nor scaled."""
    text = config.get_text_config()
    names = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
    return all(getattr(text, name, None) in (None, 1.0) for name in names)


class _Reporter(TrainerCallback):  # type: ignore[misc]
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        self._progress(state.global_step, state.max_steps, dict(logs or {}))


def make_trainer(
    model: Any,
    tokenizer: Any,
    train: Sequence[Row],
    dev: Sequence[Row],
    settings: TrainSettings,
    folder: Path,
    progress: Progress,
) -> VoiceTrainer:
    """A trainer whose checkpoints lie in ``folder``; ``model`` is a PEFT model."""
    steps = -(-len(train) // (settings.batch * settings.accumulate))
    with warnings.catch_warnings():
        # SFTConfig's own default, gradient_checkpointing, is an old name to transformers 5.23
        warnings.simplefilter("ignore", FutureWarning)
        trainer = VoiceTrainer(
            model=model,
            args=_arguments(settings, folder, max(1, steps // settings.evaluations)),
            processing_class=tokenizer,
            train_dataset=dataset(train),
            eval_dataset=dataset(dev),
            callbacks=[EarlyStoppingCallback(settings.patience), _Reporter(progress)],
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(settings: TrainSettings, folder: Path, every: int) -> SFTConfig:
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=settings.device == "cpu" or not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=every,
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        seed=settings.seed,
        max_length=None,
        dataloader_pin_memory=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; one that a crash cut short is deleted and the one before is taken."""
    while folder.is_dir() and (found := get_last_checkpoint(str(folder))) is not None:
        if (Path(found) / "trainer_state.json").is_file() and (Path(found) / STATE_FILE).is_file():
            return str(found)
        shutil.rmtree(found)
    return None


def dataset(rows: Sequence[Row]) -> Any:
    """Rows as TRL takes them: ids and labels, nothing left to prepare."""
    return Dataset.from_dict({"input_ids": [row.ids for row in rows], "labels": [row.labels for row in rows]})
