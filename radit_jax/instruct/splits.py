"""The questions of a run: what is trained on, validated on and reported on."""

import difflib

from absl import logging

from radit_jax import fingerprint
from radit_jax.config import ConfigError, InstructionsConfig
from radit_jax.corpus import questions
from radit_jax.instruct import tasks
from radit_jax.instruct.tasks import sources
from radit_jax.types import Instruction


def task_names(settings: InstructionsConfig) -> tuple[str, ...]:
    """The fine-tuning sets of D_L and D_R, each once."""
    return tuple(dict.fromkeys((*settings.lm_tasks, *settings.retriever_tasks)))


def check_task_names(settings: InstructionsConfig) -> None:
    """Checks that every set is one of `tasks.TASKS`.

    Raises:
      ConfigError: with the unknown names and the nearest known ones.
    """
    unknown = [name for name in task_names(settings) if name not in tasks.TASKS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], tasks.TASKS, n=3, cutoff=0.5)
        raise ConfigError(
            f"--config.instructions.lm_tasks and retriever_tasks name {unknown}, which "
            f"are no fine-tuning sets; the nearest are {near or sorted(tasks.TASKS)}."
        )


def read_own(
    settings: InstructionsConfig,
) -> tuple[list[Instruction], list[Instruction]]:
    """The user's questions: (train, validation); none where no file is named."""
    if not settings.train:
        return [], []
    train = questions.read_questions(settings.train)
    train = questions.subset(train, settings.max_train, settings.seed)
    return questions.split_validation(
        train, settings.validation_fraction, settings.seed
    )


def read_task(
    name: str, settings: InstructionsConfig, max_examples: int
) -> tuple[list[Instruction], list[Instruction]]:
    """One fine-tuning set: (train, validation).

    Validation is the set's own, or split off from train where it has none; of either
    at most `validation_fraction` times the questions trained on.

    Args:
      name: of a prepared set.
      settings: with the names of D_L's and D_R's sets.
      max_examples: cap of a set that only D_L reads; D_R reads sets whole (paper §4).
    """
    task, seed = tasks.TASKS[name], settings.seed
    train = _kept(sources.read(task, "train", settings.tasks_dir))
    if "validation" in sources.splits(task):
        validation = _kept(sources.read(task, "validation", settings.tasks_dir))
    else:
        fraction = settings.validation_fraction
        train, validation = questions.split_validation(train, fraction, seed)
    if name not in settings.retriever_tasks:
        train = questions.subset(train, max_examples, seed)
    share = round(settings.validation_fraction * len(train))
    validation = questions.subset(validation, share, seed) if share else []
    return train, validation


def leave_out(
    found: list[Instruction], dev: list[Instruction], name: str
) -> list[Instruction]:
    """The questions of a set that are not dev questions too; says how many were."""
    known = {_key(one) for one in dev}
    kept = [one for one in found if _key(one) not in known]
    if len(kept) < len(found):
        logging.warning(
            "%s: left out %d of %d questions that are dev questions too.",
            name,
            len(found) - len(kept),
            len(found),
        )
    return kept


def check_apart(train: list[Instruction], dev: list[Instruction]) -> None:
    """Checks that no dev question is trained on.

    Raises:
      ConfigError: one is; with their number and the first.
    """
    known = {_key(one) for one in train}
    shared = [one for one in dev if _key(one) in known]
    if shared:
        raise ConfigError(
            f"{len(shared)} of {len(dev)} dev questions are train questions too, the "
            f"first is {shared[0].id!r}: {shared[0].question!r}. Remove them from "
            "--config.instructions.train: what was trained on can't be measured on."
        )


def fingerprints(settings: InstructionsConfig) -> dict[str, str]:
    """The hash of each source of train questions, for a manifest."""
    found = {name: tasks.TASKS[name] for name in task_names(settings)}
    hashes = {
        f"task {name}": sources.fingerprint(task, settings.tasks_dir)
        for name, task in found.items()
    }
    if settings.train:
        hashes["train"] = fingerprint.hash_files(settings.train)
    return hashes


def _key(instruction: Instruction) -> str:
    """What makes two questions the same, whatever passage they are asked with."""
    return "\n".join((*instruction.history, instruction.question)).strip().lower()


def _kept(found) -> list[Instruction]:
    return [one for one in found if isinstance(one, Instruction)]
