"""What `launch.serve` answers with: a run's models, checked and loaded."""

import dataclasses
from collections.abc import Callable, Sequence

from absl import logging

from radit_jax import artifacts
from radit_jax.artifacts import ArtifactError
from radit_jax.config import Config
from radit_jax.corpus import questions
from radit_jax.inference.answerer import Answerer
from radit_jax.serving.asked import Asked
from radit_jax.serving.page import About
from radit_jax.serving.system import System
from radit_jax.stages import inputs
from radit_jax.workdir import Workdir

NAMES = ("tuned", "base")
_TUNED_LM = "ra_it"
_NUM_EXAMPLES = 3
_EXAMPLE_CHARACTERS = 70


def choose(workdir: Workdir, names: Sequence[str]) -> tuple[str, ...]:
    """The models to load; none asked for: the tuned one, where there is one."""
    if names:
        return tuple(dict.fromkeys(names))
    has_tuned = artifacts.find(workdir.lm(_TUNED_LM)) is not None
    return ("tuned",) if has_tuned else ("base",)


def check(config: Config, workdir: Workdir, names: Sequence[str]) -> None:
    """Looks for all that will be loaded, before any of it is.

    Raises:
      ArtifactError: with everything that is missing, and the command that makes it.
    """
    checks: list[Callable[[], object]] = [lambda: inputs.chunk_store(workdir)]
    if config.retrieve.kind != "bm25":
        checks.append(lambda: artifacts.load(workdir.embeddings, "embed_corpus"))
    checks.append(lambda: inputs.index_hashes(config, workdir))
    if "tuned" in names:
        checks.append(lambda: inputs.lm_hash(config, workdir, _TUNED_LM))
    problems = []
    for look in checks:
        try:
            look()
        except ArtifactError as error:
            problems.append(str(error))
    if problems:
        raise ArtifactError("\n".join(problems))


def load(
    config: Config, workdir: Workdir, names: Sequence[str], max_batch: int
) -> tuple[dict[str, System], About]:
    """The systems by name, and what the page tells of them.

    Args:
      config: of the run.
      workdir: the run's.
      names: of the systems.
      max_batch: questions that are answered together, whatever `predict` ran.

    Raises:
      ArtifactError: something is missing, or an index is of another model or corpus.
    """
    check(config, workdir, names)
    num_prompts = max_batch * max(1, config.predict.num_chunks)
    predict = dataclasses.replace(config.predict, batch_size=num_prompts)
    config = dataclasses.replace(config, predict=predict)
    towers = {name: _tower(config, workdir, name) for name in names}
    retrievers = inputs.retrievers(config, workdir, tuple(set(towers.values())))
    store = inputs.chunk_store(workdir)
    systems, told = {}, {}
    for name, tower in towers.items():
        lm = _TUNED_LM if name == "tuned" else "base"
        decoder, tokenizer = inputs.load_lm(config, workdir, lm)
        systems[name] = System(
            name,
            config,
            Answerer(config, decoder, tokenizer, store),
            tokenizer,
            retrievers[tower],
            store,
        )
        told[name] = f"{_LMS[lm]}, {_TOWERS[tower]}"
        logging.info("Loaded %s: %s.", name, told[name])
    return systems, About(
        models=told,
        num_corpus_chunks=len(store),
        num_chunks=config.predict.num_chunks,
        mode=config.predict.mode,
        examples=_examples(config),
    )


def warm_up(system: System, max_batch: int) -> None:
    """Answers questions of usual lengths, so that the first client waits for none.

    Args:
      system: compiles what it needs for one question and for a full batch.
      max_batch: questions of the largest one.
    """
    asked = [Asked(words, system.name) for words in _openings(system, max_batch)]
    closed = Asked(asked[0].question, system.name, retrieval=False)
    for batch in ([closed], asked[:1], asked):
        system.answer(batch, lambda i, name, data: None)


_LMS = {"base": "the LM as it came", _TUNED_LM: "the LM tuned to read passages (RA-IT)"}
_TOWERS = {"base": "the query encoder as it came", "tuned": "the tuned query encoder"}


def _tower(config: Config, workdir: Workdir, name: str) -> str:
    """The query tower to put before an LM; search by words has none to tune."""
    is_tuned = name == "tuned" and config.retrieve.kind != "bm25"
    tuned = artifacts.find(workdir.query_tower) if is_tuned else None
    if tuned is None:
        return "base"
    embedded = artifacts.load(workdir.embeddings, "embed_corpus")
    if tuned.manifest["inputs"]["embeddings"] != embedded.sha256:
        raise ArtifactError(
            f"{tuned.path} was tuned for other embeddings than {embedded.path} holds; "
            "run `python -m launch.run_pipeline --overwrite` to bring it up to date, "
            "or serve --models=base."
        )
    return "tuned"


def _openings(system: System, num: int) -> list[str]:
    """Short texts that find something: the first words of chunks."""
    size = len(system.store)
    chunks = system.store.get_many(i * size // num for i in range(num))
    return [" ".join(chunk.text.split()[:12]) or "?" for chunk in chunks]


def _examples(config: Config) -> list[str]:
    """Dev questions to try, where the run has any."""
    if not config.instructions.dev:
        return []
    asked = [one.question for one in questions.read_questions(config.instructions.dev)]
    short = [text for text in asked if len(text) <= _EXAMPLE_CHARACTERS]
    return short[:: max(1, len(short) // _NUM_EXAMPLES)][:_NUM_EXAMPLES]
