import json

import numpy as np
import pytest

from radit_jax.config import IndexConfig
from radit_jax.retrieval import index
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.index import IndexFileError
from radit_jax.retrieval.recall import RecallError
from radit_jax.retrieval.scann_index import ScannIndex


def test_auto_takes_the_exact_index_for_a_small_corpus(to_disk, clustered):
    built, report = index.build(to_disk(clustered), IndexConfig(exact_below=2001))
    assert isinstance(built, ExactIndex)
    assert report == {"kind": "exact", "recall": 1.0}


def test_auto_takes_scann_for_a_large_one_and_reaches_the_recall(to_disk, clustered):
    stored = to_disk(clustered)
    built, report = index.build(stored, IndexConfig(exact_below=2000))
    assert isinstance(built, ScannIndex)
    assert 0.95 <= report["recall"] <= 1
    assert report["parameters"]["num_leaves"] == 45
    assert json.loads(json.dumps(report)) == report  # goes into the manifest


def test_recall_under_the_target_is_an_error(to_disk, clustered):
    with pytest.raises(RecallError, match="the target is 1.5"):
        index.build(
            to_disk(clustered[:100]), IndexConfig(kind="scann", target_recall=1.5)
        )


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_save_and_load(to_disk, clustered, tmp_path, kind):
    stored = to_disk(clustered)
    built, _ = index.build(stored, IndexConfig(kind=kind))
    (tmp_path / "index").mkdir()
    built.save(tmp_path / "index")
    loaded = index.load(tmp_path / "index", stored)
    assert (type(loaded), loaded.num_chunks) == (type(built), 2000)
    for before, after in zip(
        built.search(clustered[:9], 5), loaded.search(clustered[:9], 5), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_no_index(to_disk, clustered, tmp_path):
    with pytest.raises(IndexFileError, match="index.json does not exist; run stage"):
        index.load(tmp_path, to_disk(clustered))


def test_index_of_another_corpus(to_disk, clustered, tmp_path):
    ExactIndex(to_disk(clustered)).save(tmp_path)
    other = to_disk(clustered[:70], folder="other")
    with pytest.raises(
        IndexFileError, match="2000 embeddings of width 32, but the corpus has 70"
    ):
        index.load(tmp_path, other)


def test_index_of_an_unknown_kind(to_disk, clustered, tmp_path):
    description = {"kind": "faiss", "num_chunks": 2000, "width": 32}
    (tmp_path / "index.json").write_text(json.dumps(description))
    with pytest.raises(IndexFileError, match="is of kind 'faiss'; this version reads"):
        index.load(tmp_path, to_disk(clustered))
