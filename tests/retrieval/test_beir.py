import json

import pytest

from radit_jax.corpus.json_lines import CorpusError
from radit_jax.retrieval import beir
from radit_jax.types import Chunk, Instruction

DOCUMENTS = [
    {"_id": "d1", "title": "Rivers", "text": "The Seine."},
    {"_id": "d2", "title": "", "text": " Salt. "},
    {"_id": "d3", "title": None, "text": "", "metadata": {}},
]
QUESTIONS = [
    {"_id": "q2", "text": "Which river?"},
    {"_id": "unasked", "text": ""},
    {"_id": "q1", "text": "Salt?", "metadata": {}},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td2\t2\nq2\td1\t1\nq1\td1\t0\n"


@pytest.fixture
def folder(tmp_path):
    def write(documents=DOCUMENTS, questions=QUESTIONS, qrels=QRELS):
        for name, records in (("corpus", documents), ("queries", questions)):
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (tmp_path / f"{name}.jsonl").write_text(lines)
        (tmp_path / "qrels").mkdir(exist_ok=True)
        (tmp_path / "qrels" / "test.tsv").write_text(qrels)
        return tmp_path

    return write


def test_passages_are_what_beir_encodes(folder):
    assert list(beir.read_corpus(folder())) == [
        Chunk(0, "d1", "Rivers The Seine."),
        Chunk(1, "d2", "Salt."),
        Chunk(2, "d3", " "),
    ]
    assert [chunk.passage for chunk in beir.read_corpus(folder())][0] == (
        "Rivers The Seine."
    )


def test_questions_without_judgements_are_not_asked(folder):
    qrels = beir.read_qrels(folder())
    assert qrels == {"q1": {"d2": 2, "d1": 0}, "q2": {"d1": 1}}
    assert beir.read_questions(folder(), qrels) == [
        Instruction("q2", "Which river?", ()),
        Instruction("q1", "Salt?", ()),
    ]


def test_equal_scores_go_by_id_downwards():
    ranking = [("a", 0.5), ("b", 0.7), ("d", 0.5), ("c", 0.5)]
    assert beir.trec_eval_order(ranking) == ["b", "d", "c", "a"]


def test_equal_scores_as_trec_eval_has_them():
    pytrec_eval = pytest.importorskip("pytrec_eval")
    ranking = [("a", 0.5), ("d", 0.5), ("c", 0.5)]
    for place, wanted in enumerate(beir.trec_eval_order(ranking), start=1):
        judged = pytrec_eval.RelevanceEvaluator({"q": {wanted: 1}}, {"recip_rank"})
        found = judged.evaluate({"q": dict(ranking)})["q"]["recip_rank"]
        assert found == pytest.approx(1 / place)


def test_malformed_documents(folder):
    documents = [{"text": "no id"}, {"_id": "d", "text": 3}, *DOCUMENTS[:1] * 2]
    with pytest.raises(CorpusError) as raised:
        list(beir.read_corpus(folder(documents)))
    said = str(raised.value)
    assert "corpus.jsonl:1 has no '_id', a string; found ['text']" in said
    assert "corpus.jsonl:2: 'title' and 'text' must be strings" in said
    assert "corpus.jsonl:4 repeats the _id 'd1'" in said
    with pytest.raises(CorpusError, match="holds no documents"):
        list(beir.read_corpus(folder([])))


def test_malformed_questions(folder):
    questions = [{"_id": "q1", "text": " "}, {"_id": "q1", "text": "a"}]
    with pytest.raises(CorpusError) as raised:
        beir.read_questions(folder(questions=questions), {"q1": {"d1": 1}})
    assert "queries.jsonl:1: 'text' is empty" in str(raised.value)
    assert "queries.jsonl:2 repeats the _id 'q1'" in str(raised.value)


def test_judgements_of_unknown_questions(folder):
    with pytest.raises(
        CorpusError, match="2 of 3 questions with judgements are not in .* is 'x'"
    ):
        beir.read_questions(folder(), {"q1": {}, "x": {}, "y": {}})


def test_malformed_judgements(folder):
    with pytest.raises(CorpusError, match="test.tsv:1 is a judgement.*put the header"):
        beir.read_qrels(folder(qrels="q1\td1\t1\nq2\td1\t1\n"))
    with pytest.raises(CorpusError) as raised:
        beir.read_qrels(folder(qrels="h\tc\ts\nq1\td1\nq1\td1\tyes\nq1 d1 1\n"))
    assert "3 problem(s)" in str(raised.value)
    assert "test.tsv:2 is ['q1', 'd1'], not question, document and" in str(raised.value)
    with pytest.raises(CorpusError, match="holds no judgements"):
        beir.read_qrels(folder(qrels="h\tc\ts\n"))


def test_another_layout(tmp_path):
    with pytest.raises(CorpusError, match="corpus.jsonl does not exist; a set in BEIR"):
        list(beir.read_corpus(tmp_path))
