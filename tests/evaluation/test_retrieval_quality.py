import math
import sys

import pytest

from radit_jax.evaluation import retrieval_quality
from radit_jax.evaluation.retrieval_quality import QualityError

RANKINGS = {
    "q1": ["a", "b", "c", "d", "e", "f"],
    "q2": ["x", "y"],
    "q3": [f"n{i}" for i in range(30)],
}
QRELS = {
    "q1": {"c": 1, "f": 2, "z": 1},  # at places 3 and 6; z is not found
    "q2": {"x": 1, "y": 0},
    "q3": {"n19": 1, "n20": 1},
}


def gain(*graded_places):
    return sum(grade / math.log2(place + 1) for grade, place in graded_places)


EXPECTED = {
    "recall@1": [0, 1, 0],
    "recall@5": [1 / 3, 1, 0],
    "recall@20": [2 / 3, 1, 1 / 2],
    "recall@100": [2 / 3, 1, 1],
    "MRR@10": [1 / 3, 1, 0],
    "nDCG@10": [gain((1, 3), (2, 6)) / gain((2, 1), (1, 2), (1, 3)), 1, 0],
}


@pytest.fixture(autouse=True)
def _needs_ir_measures():
    pytest.importorskip("ir_measures")


def test_by_hand():
    scores = retrieval_quality.question_scores(RANKINGS, QRELS)
    assert {name: list(values) for name, values in scores.items()} == {
        name: pytest.approx([100 * value for value in values])
        for name, values in EXPECTED.items()
    }


def test_a_documents_second_chunk_holds_its_place():
    """b is at place 4 of the chunks, although the third document."""
    rankings = {"q": ["a", "c", "a", "b", "b", "d"]}
    scores = retrieval_quality.question_scores(rankings, {"q": {"b": 1, "d": 1}})
    assert scores["MRR@10"] == pytest.approx([100 / 4])
    assert scores["recall@5"] == pytest.approx([50])
    expected = gain((1, 4), (1, 6)) / gain((1, 1), (1, 2))
    assert scores["nDCG@10"] == pytest.approx([100 * expected])


def test_a_question_without_relevant_documents_finds_none():
    qrels = {"q": {"a": 0}, "r": {"a": 1}}
    scores = retrieval_quality.question_scores({"q": ["a"], "r": ["a"]}, qrels)
    for values in scores.values():
        assert list(values) == [0, 100]


def test_intervals():
    scores = retrieval_quality.question_scores(RANKINGS, QRELS)
    found = retrieval_quality.with_intervals(scores, 200, 0)["recall@20"]
    assert found["value"] == pytest.approx(100 * (2 / 3 + 1 + 1 / 2) / 3)
    assert 50 <= found["low"] < found["value"] < found["high"] <= 100


def test_the_table():
    def row(*values):
        return {
            name: {"value": value, "low": 0.0, "high": 99.0}
            for name, value in zip(("recall@1", "MRR@10"), values, strict=True)
        }

    systems = {"exact": row(50.04, 61.26), "bm25": row(49.96, 70.0)}
    results = {"num_questions": 4, "num_chunks": 9, "systems": systems}
    assert retrieval_quality.render_markdown(results) == (
        "4 questions over 9 passages; percent.\n\n"
        "| retriever | recall@1 | MRR@10 |\n"
        "|---|---:|---:|\n"
        "| exact | **50.0** | 61.3 |\n"
        "| bm25 | **50.0** | **70.0** |\n"
    )


def test_other_questions():
    with pytest.raises(QualityError, match=r"1 questions have .* \['q2'\], 1 judgemen"):
        retrieval_quality.question_scores(
            {"q1": ["a"], "q2": ["a"]}, {"q1": {"a": 1}, "q3": {"a": 1}}
        )
    with pytest.raises(QualityError, match="there are no rankings to measure"):
        retrieval_quality.question_scores({}, {})


def test_judged_documents_that_the_corpus_lacks():
    with pytest.raises(
        QualityError, match="2 judged .* the first is 'f' of question 'q1'.*--allow_mis"
    ):
        retrieval_quality.check_documents(QRELS, {"c", "z", "x", "y", "n19"}, False)
    retrieval_quality.check_documents(QRELS, {"c"}, True)
    retrieval_quality.check_documents({"q": {"c": 1}}, {"c"}, False)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(QualityError, match=r"ir_measures is not .*radit_jax\[retr"):
        retrieval_quality.question_scores(RANKINGS, QRELS)
