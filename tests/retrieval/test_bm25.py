import json
import math
import sys

import numpy as np
import pytest

from radit_jax.retrieval import bm25_index
from radit_jax.retrieval.bm25_index import BM25Error
from radit_jax.retrieval.retriever import Retriever, Searcher

PASSAGES = [
    "The rivers of France flow to the sea.",
    "Paris lies on a river; the river is the Seine, the Seine!",
    "A sea is salt",
    "and of the",
    "Seine river boats, Seine river fish, Seine river banks and 9 bridges",
]
K1, B = 0.9, 0.4
# Lower case, no stop words, Porter's stems.
STEMS = [
    ["river", "franc", "flow", "sea"],
    ["pari", "li", "river", "river", "sein", "sein"],
    ["sea", "salt"],
    [],
    "sein river boat sein river fish sein river bank 9 bridg".split(),
]


@pytest.fixture(scope="module")
def index():
    return bm25_index.build(PASSAGES, K1, B)


def reference(query):
    """Lucene's BM25, word by word."""
    mean = sum(map(len, STEMS)) / len(STEMS)
    scores = []
    for stems in STEMS:
        score = 0.0
        for word in query:
            with_it = sum(word in other for other in STEMS)
            idf = math.log(1 + (len(STEMS) - with_it + 0.5) / (with_it + 0.5))
            count = stems.count(word)
            score += idf * count / (count + K1 * (1 - B + B * len(stems) / mean))
        scores.append(score)
    return np.array(scores)


@pytest.mark.parametrize(
    ("question", "stems"),
    [
        ("Where is the Seine river?", ["where", "sein", "river"]),
        ("salt seas of 9 RIVERS", ["salt", "sea", "9", "river"]),
        ("sea sea", ["sea", "sea"]),
    ],
)
def test_scores_are_lucenes(index, question, stems):
    assert isinstance(index, Searcher)
    ids, scores = Retriever(index).retrieve([question], 5)
    expected = reference(stems)
    order = np.argsort(-expected, kind="stable")
    assert ids.tolist() == [order.tolist()]
    np.testing.assert_allclose(scores[0], expected[order], rtol=1e-6)
    assert ids.dtype == np.int32 and scores.dtype == np.float32


def test_fewer_matches_than_k_fill_up_with_the_lowest_ids(index):
    ids, scores = Retriever(index).retrieve(["salt", "Who is it?", "xyzzy"], 3)
    assert ids.tolist() == [[2, 0, 1], [0, 1, 2], [0, 1, 2]]
    assert scores[0, 0] > index.no_match
    assert (scores[0, 1:] == index.no_match).all()
    assert (scores[1:] == index.no_match).all()


def test_equal_scores_by_lower_id():
    index = bm25_index.build(["b", "a a", "b", "b", "a a"], K1, B)
    ids, scores = Retriever(index).retrieve(["b"], 2)
    assert ids.tolist() == [[0, 2]]
    assert scores[0, 0] == scores[0, 1]


def test_excludes(index):
    ids, _ = Retriever(index).retrieve(["river Seine", "river Seine"], 2, [4, -1])
    assert ids.tolist() == [[1, 0], [4, 1]]
    ids, _ = Retriever(index).retrieve(["salt"], 4, [1])
    assert ids.tolist() == [[2, 0, 3, 4]]


def test_saved_without_pickle_and_loaded_the_same(index, tmp_path):
    index.save(tmp_path)
    for path in tmp_path.glob("*.npy"):
        np.load(path, allow_pickle=False)
    assert {p.suffix for p in tmp_path.iterdir()} == {".npy", ".json"}
    loaded = bm25_index.load(tmp_path, 5)
    for question in ("river Seine", "salt of the sea", "9"):
        for found, expected in zip(
            Retriever(loaded).retrieve([question], 5),
            Retriever(index).retrieve([question], 5),
            strict=True,
        ):
            np.testing.assert_array_equal(found, expected)


def test_saves_the_same_bytes_again(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        bm25_index.build(PASSAGES, K1, B).save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_of_another_corpus_or_none(index, tmp_path):
    with pytest.raises(BM25Error, match="index.json does not exist; run stage build"):
        bm25_index.load(tmp_path, 5)
    index.save(tmp_path)
    with pytest.raises(BM25Error, match="has num_chunks 5 where 6 is wanted: it is of"):
        bm25_index.load(tmp_path, 6)
    path = tmp_path / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stemmer": "none"}))
    with pytest.raises(
        BM25Error, match="has stemmer 'none' where 'porter'.*--overwrite"
    ):
        bm25_index.load(tmp_path, 5)


def test_a_corpus_without_words():
    with pytest.raises(BM25Error, match="2 passages hold no word that BM25 counts"):
        bm25_index.build(["the", "?!"], K1, B)


@pytest.mark.parametrize("package", ["bm25s", "Stemmer"])
def test_a_missing_package_names_the_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BM25Error, match=rf"{package} is not installed.*radit_jax\[ret"):
        bm25_index.build(PASSAGES, K1, B)
