"""Asks a finished run a question, and shows the passages behind the answer.

python -m launch.ask --workdir=runs/q "Who designed the Eiffel Tower?"
python -m launch.ask --workdir=runs/q < questions.txt
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags
from etils import epath

from launch import cli
from radit_jax import artifacts
from radit_jax.config import Config
from radit_jax.inference.answerer import Answerer
from radit_jax.inference.answers import Answer
from radit_jax.stages import inputs
from radit_jax.types import Chunk, Instruction, Retrieved
from radit_jax.workdir import Workdir

_LM = flags.DEFINE_enum(
    "lm", None, ["base", "it", "ra_it"], "LM to answer with; left out: the tuned one."
)
_RETRIEVER = flags.DEFINE_enum(
    "retriever",
    None,
    ["none", "base", "tuned"],
    "Query tower to retrieve with; left out: the tuned one.",
)
_WIDTH = 88


def main(argv: Sequence[str]) -> None:
    """Answers the question given as argument, or each line of standard input."""
    if not cli.WORKDIR.value:
        raise cli.app.UsageError("give --workdir=FOLDER of a finished run.")
    workdir = Workdir(epath.Path(cli.WORKDIR.value).expanduser())
    config = read_config(workdir)
    answerer = Asker(config, workdir, *choose(workdir))
    for question in _questions(argv[1:]):
        print(answerer.ask(question), flush=True)


def read_config(workdir: Workdir) -> Config:
    """The config that the run was made with.

    Raises:
      ArtifactError: the folder is no run's.
    """
    config = cli.remembered(workdir)
    config.validate()
    return config


def choose(workdir: Workdir) -> tuple[str, str]:
    """The LM and the query tower to use: the flags', else the tuned ones."""
    tuned_lm = artifacts.find(workdir.lm("ra_it"))
    tuned_tower = artifacts.find(workdir.query_tower)
    lm = _LM.value or ("ra_it" if tuned_lm else "base")
    return lm, _RETRIEVER.value or ("tuned" if tuned_tower else "base")


def _questions(words: Sequence[str]) -> Iterator[str]:
    if words:
        yield " ".join(words)
        return
    if sys.stdin.isatty():
        print("Ask a question and press Enter; an empty line ends.", file=sys.stderr)
    for line in sys.stdin:
        if line.strip():
            yield line.strip()
        elif sys.stdin.isatty():
            return


class Asker:
    """A retriever and an LM, ready to answer."""

    def __init__(self, config: Config, workdir: Workdir, lm: str, retriever: str):
        """Loads both; `retriever` "none" answers closed-book."""
        self._config, self._name = config, retriever
        self._retriever = None
        if retriever != "none":
            self._retriever = inputs.retriever(config, workdir, retriever)
        self._store = inputs.chunk_store(workdir)
        models = inputs.load_lm(config, workdir, lm)
        self._answerer = Answerer(config, *models, self._store)

    def ask(self, question: str) -> str:
        """The answer and its passages as text for a terminal."""
        instruction = Instruction("question", question, ())
        found = Retrieved(instruction, (), ())
        if self._retriever is not None:
            ids, scores = self._retriever.retrieve(
                [question], self._config.predict.num_chunks
            )
            found = Retrieved(
                instruction, tuple(ids[0].tolist()), tuple(scores[0].tolist())
            )
        asked, _ = self._answerer.question({self._name: found})
        answer = self._answerer.answer([asked])[0][self._name]
        chunks = [self._store[chunk_id] for chunk_id in found.chunk_ids]
        weights = np.exp(asked.retrievals[self._name].log_p_r).tolist()
        return render(question, answer, chunks, weights)


def render(
    question: str, answer: Answer, chunks: Sequence[Chunk], weights: Sequence[float]
) -> str:
    """The answer with its probability, then each passage with its weight and answer."""
    probability = np.exp(answer.log_probability)
    lines = [
        f"Q: {question}",
        f"A: {answer.text or '(nothing)'}   (p = {probability:.2g})",
    ]
    for chunk, weight, text in zip(chunks, weights, answer.chunk_answers, strict=False):
        mark = "*" if text == answer.text else " "
        lines.append(
            f"{mark} {weight:5.1%}  {chunk.title or chunk.document_id} → {text}"
        )
        lines += textwrap.wrap(
            chunk.text,
            _WIDTH,
            initial_indent=" " * 10,
            subsequent_indent=" " * 10,
            max_lines=3,
            placeholder=" …",
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.run_main(main)
