"""BM25 over the words of the passages: a searcher that needs no encoder.

Only this file knows of bm25s. Its index is three NumPy arrays (saved without pickle,
read through memory maps) with the score of every word in every passage that has it,
and a vocabulary. Scores are Lucene's, and so are the words: lower case, without
Lucene's 33 stop words, stemmed by Porter's algorithm.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Int

from radit_jax.retrieval.ranking import Found

_WORD = re.compile(r"\w+")
_WORDS = {"stop_words": "lucene", "stemmer": "porter"}  # in index.json


class BM25Error(ValueError):
    """A BM25 index that can't be built or read."""


class BM25Index:
    """The scores of words in passages; those of a question's words are summed."""

    no_match = 0.0  # the score of a passage without any of the question's words

    def __init__(self, scores: Any, analyser: "Analyser"):
        """Args: scores: a bm25s.BM25. analyser: what cut its texts."""
        self._scores = scores
        self._analyser = analyser

    @property
    def num_chunks(self) -> int:
        """`n`."""
        return self._scores.scores["num_docs"]

    def encode(self, questions: Sequence[str]) -> list[Int[np.ndarray, " _"]]:
        """For each question, the vocabulary's ids of its words; others are left out."""
        words = (self._analyser.words(question) for question in questions)
        return [np.array(self._scores.get_tokens_ids(w), np.int32) for w in words]

    def search(
        self,
        encoded: list[Int[np.ndarray, " _"]],
        k: int,
        exclude: Int[np.ndarray, " b"],
    ) -> Found:
        """See `Searcher`. Where fewer than k passages match, the lowest ids fill up."""
        rows = [
            self._search_one(words, int(left_out), k)
            for words, left_out in zip(encoded, exclude, strict=True)
        ]
        return tuple(np.stack(part) for part in zip(*rows, strict=True))

    def _search_one(self, words: Int[np.ndarray, " _"], exclude: int, k: int):
        scores = self._scores.get_scores_from_ids(words)
        if exclude >= 0:
            scores[exclude] = -np.inf
        least = np.partition(scores, -k)[-k]
        ids = np.flatnonzero(scores >= least)
        best = ids[np.argsort(-scores[ids], kind="stable")[:k]]
        return best.astype(np.int32), scores[best]

    def save(self, directory: epath.PathLike) -> None:
        """Writes into an existing local folder what `load` reads."""
        directory = epath.Path(directory)
        self._scores.save(os.fspath(directory), allow_pickle=False)
        description = {"kind": "bm25", "num_chunks": self.num_chunks} | _WORDS
        (directory / "index.json").write_text(json.dumps(description))


class Analyser:
    """Cuts texts into words as Lucene's English analyser does, near enough."""

    def __init__(self):
        """Raises: BM25Error: bm25s or PyStemmer is not installed."""
        self._stop_words = frozenset(_package("bm25s").stopwords.STOPWORDS_EN)
        self._stem = _package("Stemmer").Stemmer(_WORDS["stemmer"]).stemWord

    def words(self, text: str) -> list[str]:
        """The stems, in the order of the text."""
        found = _WORD.findall(text.lower())
        return [self._stem(word) for word in found if word not in self._stop_words]


def build(passages: Iterable[str], k1: float, b: float) -> BM25Index:
    """Counts the words of all passages.

    All of it is held in memory, about 4 KB a passage of 100 words while it is built:
    meant for some millions of passages.

    Args:
      passages: at least one; passage i is chunk i.
      k1: how slowly repeated words stop counting.
      b: how much longer passages are worth less, from 0 to 1.

    Raises:
      BM25Error: no passage has a word, or a package is not installed.
    """
    analyser, vocabulary, documents = Analyser(), {}, []
    for passage in passages:
        words = analyser.words(passage)
        documents.append([vocabulary.setdefault(w, len(vocabulary)) for w in words])
    if not vocabulary:
        raise BM25Error(
            f"{len(documents)} passages hold no word that BM25 counts; check "
            "--config.corpus.documents, or use --config.retrieve.kind=dense."
        )
    scores = _package("bm25s").BM25(k1=k1, b=b, method="lucene")
    scores.index((documents, vocabulary), show_progress=False)
    return BM25Index(scores, analyser)


def load(directory: epath.PathLike, num_chunks: int) -> BM25Index:
    """Opens what `BM25Index.save` wrote.

    Args:
      directory: the index' local folder.
      num_chunks: of the corpus that it was built from.

    Raises:
      BM25Error: no index, one of another corpus or of another version's words.
    """
    path = epath.Path(directory) / "index.json"
    if not path.exists():
        raise BM25Error(f"{path} does not exist; run stage build_index first.")
    found, wanted = json.loads(path.read_text()), {"num_chunks": num_chunks} | _WORDS
    changes = [
        f"{key} {found.get(key)!r} where {value!r} is wanted"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    if changes:
        raise BM25Error(
            f"{path} has {', '.join(changes)}: it is of another corpus or version; run "
            "stage build_index again with --overwrite."
        )
    scores = _package("bm25s").BM25.load(os.fspath(path.parent), mmap=True)
    return BM25Index(scores, Analyser())


def _package(name: str) -> Any:
    """Imports one of the two optional packages where it is first needed."""
    try:
        if name == "bm25s":
            import bm25s as package
        else:
            import Stemmer as package
    except ImportError as error:
        raise BM25Error(
            f"{name} is not installed, which BM25 needs; run "
            "`pip install 'radit_jax[retrieval]'`."
        ) from error
    return package
