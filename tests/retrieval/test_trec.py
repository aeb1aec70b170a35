import numpy as np
import pytest

from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.store import ChunkStore
from radit_jax.retrieval import trec
from radit_jax.types import Chunk, Instruction, Retrieved

RUN = [("q 1", [("a b.txt", 3.25), ("100%", -0.1)]), ("q2", [("a b.txt", 1e-7)])]


class Store(ChunkStore):
    def __init__(self):
        pass

    def get_many(self, ids):
        return [Chunk(i, f"d{i // 2}", "text") for i in ids]


def test_a_run_in_the_tools_format(tmp_path):
    trec.write_run(tmp_path / "run", RUN, "ours")
    assert (tmp_path / "run").read_text() == (
        "q%201 Q0 a%20b.txt 1 3.25 ours\n"
        "q%201 Q0 100%25 2 -0.1 ours\n"
        "q2 Q0 a%20b.txt 1 0.0000001 ours\n"
    )


def test_a_run_is_read_back(tmp_path):
    trec.write_run(tmp_path / "run", RUN, "ours")
    assert trec.read_run(tmp_path / "run") == dict(RUN)


def test_scores_are_written_to_the_last_bit(tmp_path):
    scores = np.random.default_rng(0).normal(size=50).astype(np.float32)
    ranking = [(f"d{i}", float(s)) for i, s in enumerate(-np.sort(-scores))]
    trec.write_run(tmp_path / "run", [("q", ranking)], "x")
    found = [score for _, score in trec.read_run(tmp_path / "run")["q"]]
    np.testing.assert_array_equal(np.float32(found), -np.sort(-scores))


def test_the_score_ranks_not_the_line(tmp_path):
    (tmp_path / "run").write_text("q Q0 a 1 0.5 x\nq Q0 b 2 0.7 x\n\nq Q0 c 3 0.5 x\n")
    assert [d for d, _ in trec.read_run(tmp_path / "run")["q"]] == ["b", "a", "c"]


def test_qrels(tmp_path):
    trec.write_qrels(tmp_path / "qrels", [("q 1", ("d", "e e", "d")), ("q2", ())])
    assert (tmp_path / "qrels").read_text() == "q%201 0 d 1\nq%201 0 e%20e 1\n"
    assert trec.read_qrels(tmp_path / "qrels") == {"q 1": {"d": 1, "e e": 1}}


def test_a_document_counts_at_its_best_chunk():
    found = [
        Retrieved(Instruction("q", "?", ()), (5, 0, 4, 1, 9), (3.0, 2.5, 2.0, 1.0, 0.5))
    ]
    rankings = trec.document_rankings(found, Store())
    assert rankings == [("q", [("d2", 3.0), ("d0", 2.5), ("d4", 0.5)])]


def test_the_tools_agree(tmp_path):
    """ir-measures reads the files itself: question 1 finds at 2, question 2 at 1."""
    ir_measures = pytest.importorskip("ir_measures")
    trec.write_run(tmp_path / "run", RUN, "ours")
    trec.write_qrels(tmp_path / "qrels", [("q 1", ["100%"]), ("q2", ["a b.txt"])])
    run = ir_measures.read_trec_run(str(tmp_path / "run"))
    qrels = ir_measures.read_trec_qrels(str(tmp_path / "qrels"))
    found = ir_measures.calc_aggregate([ir_measures.RR @ 10], qrels, run)
    assert found == {ir_measures.RR @ 10: 0.75}


def test_malformed_lines_are_all_named(tmp_path):
    (tmp_path / "run").write_text(
        "q Q0 d 1 high x\nq Q0 d 1 2.0 x\nq d\nq Q0 d 2 1 x\n"
    )
    with pytest.raises(CorpusError) as raised:
        trec.read_run(tmp_path / "run")
    said = str(raised.value)
    assert "3 problem(s)" in said
    assert "run:1 is 'q Q0 d 1 high x', not `query Q0 document rank score tag`" in said
    assert "run:3 is 'q d'" in said
    assert "run:4 repeats document 'd' of question 'q'" in said
    (tmp_path / "qrels").write_text("q 0 d one\n")
    with pytest.raises(CorpusError, match="qrels:1 is 'q 0 d one', not `query 0 docum"):
        trec.read_qrels(tmp_path / "qrels")
