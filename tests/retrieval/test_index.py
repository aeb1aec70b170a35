import json

import numpy as np
import pytest
from etils import epath

from radit_jax.artifacts import Draft
from radit_jax.config import IndexConfig
from radit_jax.retrieval import index, scann_index
from radit_jax.retrieval.embeddings import EmbeddingsError
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.index import Index, IndexFileError
from radit_jax.retrieval.recall import RecallError
from radit_jax.retrieval.scann_index import ScannError, ScannIndex


@pytest.fixture
def draft(tmp_path):
    (tmp_path / "index").mkdir()
    return Draft(epath.Path(tmp_path / "index"))


def test_auto_takes_the_exact_index_for_a_small_corpus(to_disk, clustered, draft):
    stored = to_disk(clustered)
    report = index.build(stored, IndexConfig(exact_below=2001), draft)
    assert (report["kind"], report["recall"]) == ("exact", 1.0)
    loaded = index.load(draft.path, stored)
    assert isinstance(loaded, ExactIndex)
    assert isinstance(loaded, Index)
    assert loaded.num_chunks == 2000


@pytest.mark.parametrize("num_parts", [1, 3])
def test_auto_takes_scann_for_a_large_one_and_reaches_the_recall(
    to_disk, clustered, draft, num_parts
):
    stored = to_disk(clustered)
    config = IndexConfig(exact_below=2000, num_parts=num_parts, recall_queries=1000)
    report = index.build(stored, config, draft)
    loaded = index.load(draft.path, stored)
    assert isinstance(loaded, ScannIndex)
    assert isinstance(loaded, Index)
    assert len(loaded.parts) == len(report["parts"]) == num_parts
    assert 0.95 <= report["recall"] <= 1
    first = report["parts"][0]
    assert first["parameters"] == loaded.parts[0].parameters
    assert first["num_queries"] == 1000
    assert first["curve"][0].keys() >= {"recall", "queries_per_second", "reorder"}
    assert json.loads(json.dumps(report)) == report  # goes into the manifest
    # Other queries than it was tuned with, and recall by ids rather than scores.
    queries = clustered[::7] + np.float32(0.4)
    found, _ = loaded.search(queries, 10)
    best, _ = ExactIndex(stored).search(queries, 10)
    shares = [len(set(f) & set(b)) / 10 for f, b in zip(found, best, strict=True)]
    assert np.mean(shares) > 0.85


def test_recall_is_measured_with_the_given_queries(to_disk, clustered, draft):
    config = IndexConfig(kind="scann")
    report = index.build(to_disk(clustered), config, draft, clustered[:40])
    assert report["parts"][0]["num_queries"] == 40
    assert report["parts"][0]["queries"] == "given"


@pytest.mark.parametrize(
    "change", [{"rows_dtype": "bfloat16"}, {"approximate_recall": 0.9}]
)
def test_recall_of_an_exact_index_that_is_not(to_disk, clustered, draft, change):
    stored = to_disk(clustered)
    report = index.build(stored, IndexConfig(kind="exact", **change), draft)
    assert 0.95 <= report["recall"] <= 1
    assert report["num_queries"] == 2048
    ids, _ = index.load(draft.path, stored).search(clustered[:2], 3)
    np.testing.assert_array_equal(ids, ExactIndex(stored).search(clustered[:2], 3)[0])


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_recall_under_the_target_is_an_error(to_disk, clustered, draft, kind):
    config = IndexConfig(kind=kind, target_recall=1.5, rows_dtype="bfloat16")
    with pytest.raises(RecallError, match=r"target is 1.5. (Raise|Lower) --config.in"):
        index.build(to_disk(clustered[:100]), config, draft)
    with pytest.raises(IndexFileError, match="index.json does not exist"):
        index.load(draft.path, to_disk(clustered[:100], folder="again"))


def test_a_killed_build_keeps_its_finished_parts(
    to_disk, clustered, draft, monkeypatch
):
    """Killed while it saved the third part, whose files are there, under .tmp."""
    stored = to_disk(clustered)
    config = IndexConfig(kind="scann", num_parts=3, recall_queries=64)
    save, saved = scann_index.Part.save, []

    def killed(part, folder):
        save(part, folder)
        saved.append(part.ids.start)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(scann_index.Part, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        index.build(stored, config, draft)
    assert {path.name for path in draft.path.iterdir()} == {
        "scann-00000-of-00003",
        "scann-00001-of-00003",
        "scann-00002-of-00003.tmp",
    }
    with pytest.raises(IndexFileError, match="does not exist; run stage build_index"):
        index.load(draft.path, stored)
    index.build(stored, config, draft)
    assert saved == [0, 666, 1333, 1333]
    assert len(index.load(draft.path, stored).parts) == 3


def test_a_lost_part(to_disk, clustered, draft):
    stored = to_disk(clustered[:200])
    config = IndexConfig(kind="scann", num_parts=2, recall_queries=64)
    index.build(stored, config, draft)
    (draft.path / "scann-00001-of-00002").rename(draft.path / "elsewhere")
    with pytest.raises(
        IndexFileError, match="lacks 1 of 2 parts .* first is scann-00001-of-00002"
    ):
        index.load(draft.path, stored)


def test_parts_too_small(to_disk, clustered, draft):
    config = IndexConfig(kind="scann", num_parts=9)
    with pytest.raises(ScannError, match="here are 11; lower --config.index.num_parts"):
        index.build(to_disk(clustered[:100]), config, draft)


def test_corpus_that_is_not_finite(to_disk, clustered, draft):
    clustered[[30, 90], 2] = np.nan
    with pytest.raises(EmbeddingsError, match="2 of 2000 .* the first is chunk 30"):
        index.build(to_disk(clustered), IndexConfig(kind="exact"), draft)


def test_no_index(to_disk, clustered, tmp_path):
    with pytest.raises(IndexFileError, match="index.json does not exist; run stage"):
        index.load(tmp_path, to_disk(clustered))


def test_index_of_another_corpus(to_disk, clustered, draft):
    index.build(to_disk(clustered), IndexConfig(kind="exact"), draft)
    other = to_disk(clustered[:70], folder="other")
    with pytest.raises(
        IndexFileError, match="2000 embeddings of width 32, but the corpus has 70"
    ):
        index.load(draft.path, other)


def test_index_of_an_unknown_kind(to_disk, clustered, tmp_path):
    description = {"kind": "faiss", "num_chunks": 2000, "width": 32}
    (tmp_path / "index.json").write_text(json.dumps(description))
    with pytest.raises(IndexFileError, match="is of kind 'faiss'; this version reads"):
        index.load(tmp_path, to_disk(clustered))
