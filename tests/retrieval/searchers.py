"""Stand-ins for the tests of what is built on searchers."""

import numpy as np

from radit_jax.retrieval.embedder import Embedder
from radit_jax.retrieval.exact_index import ExactIndex


class Letters(Embedder):
    """Counts the letters a, b and c of each text."""

    def __init__(self):
        self.embedded = []

    def embed(self, texts, batch_size):
        del batch_size
        self.embedded.append(len(texts))
        return np.array([[t.count(x) for x in "abc"] for t in texts], np.float32)


class Counted(ExactIndex):
    """Remembers the searches."""

    def search(self, queries, k):
        self.searched = [*getattr(self, "searched", []), (len(queries), k)]
        return super().search(queries, k)


class Listed:
    """A searcher that finds the same list, whatever is asked."""

    def __init__(self, ids, scores, num_chunks, no_match=-np.inf):
        self.ids, self.scores = ids, scores
        self.num_chunks, self.no_match = num_chunks, no_match
        self.searched = []

    def encode(self, questions):
        return list(questions)

    def search(self, encoded, k, exclude):
        self.searched.append(k)
        rows = []
        for left_out in exclude:
            pairs = zip(self.ids, self.scores, strict=True)
            rows.append([(i, s) for i, s in pairs if i != left_out][:k])
        found = np.array(rows)
        return found[..., 0].astype(np.int32), found[..., 1].astype(np.float32)
