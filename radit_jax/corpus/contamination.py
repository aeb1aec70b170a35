"""Decontamination: chunks that share 13 words in a row with a benchmark.

As GPT-3's filter (arXiv 2005.14165, appendix C), which RA-DIT does not use: words are
compared in lower case and without punctuation. A benchmark's text is a question
followed by one of its answers, so a question of 9 words and an answer of 4 have one
13-gram together; shorter ones have none, and nothing is held to be a copy of them.
"""

import functools
from collections.abc import Sequence

from absl import logging
from etils import epath

from radit_jax.corpus import questions
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.words import ngrams, normalised_words

NGRAM_WORDS = 13


class BenchmarkNgrams:
    """The 13-grams of benchmarks, each with the first question that has it."""

    def __init__(self) -> None:
        """Starts without any."""
        self.num_questions = 0
        self.num_short = 0  # questions that have no 13-gram with any answer
        self._questions: dict[str, str] = {}
        # First and last word of each 13-gram: few of a text's pass, and cheaply.
        self._ends: set[tuple[str, str]] = set()

    def add(self, name: str, question: str, answers: Sequence[str]) -> None:
        """Adds a question with its accepted answers."""
        found = [
            ngram
            for answer in answers
            for ngram in ngrams(normalised_words(f"{question} {answer}"), NGRAM_WORDS)
        ]
        for ngram in found:
            self._questions.setdefault(ngram, name)
            words = ngram.split(" ")
            self._ends.add((words[0], words[-1]))
        self.num_questions += 1
        self.num_short += not found

    def find(self, words: Sequence[str]) -> list[tuple[str, str]]:
        """The (question, 13-gram) pairs that a text's words share.

        Of a question only the first 13-gram is told.
        """
        found: dict[str, str] = {}
        last = NGRAM_WORDS - 1
        for i, ends in enumerate(zip(words, words[last:], strict=False)):
            if ends in self._ends:
                ngram = " ".join(words[i : i + NGRAM_WORDS])
                if ngram in self._questions:
                    found.setdefault(self._questions[ngram], ngram)
        return list(found.items())


@functools.lru_cache(maxsize=1)  # a worker reads them once, not for every block
def read_benchmarks(path: epath.PathLike) -> BenchmarkNgrams:
    """The 13-grams of a .jsonl file of questions, or of a folder's files.

    Of a folder, a question is named `file:id`.

    Raises:
      CorpusError: there are no questions, or some can't be read.
    """
    path = epath.Path(path).expanduser()
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise CorpusError(
            f"{path} holds no .jsonl file of questions. Name a file or folder of them "
            "by --config.corpus.benchmarks."
        )
    found = BenchmarkNgrams()
    for file in files:
        prefix = f"{file.name}:" if path.is_dir() else ""
        for one in questions.read_questions(file):
            found.add(f"{prefix}{one.id}", one.question, one.answers)
    logging.info(
        "Decontamination by %d questions of %s; %d are too short to have a %d-gram.",
        found.num_questions,
        path,
        found.num_short,
        NGRAM_WORDS,
    )
    return found
