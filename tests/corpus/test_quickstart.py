import gzip
import json

from etils import epath

from radit_jax.corpus import quickstart


def write(path, records):
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps({"doc": record}) + "\n")


def texts(folder):
    squad = [
        {
            "id": f"s{i}",
            "query": f"Title: San_José\nBackground: Paragraph {i // 2}.\n"
            f"Question: Where is {i}?\nAnswer:",
            "answers_text": ["here", "here", "there"],
        }
        for i in range(80)
    ]
    write(folder / "squad.jsonl.gz", squad)
    write(folder / "drop.jsonl.gz", [{"passage": "A  drop."}] * 3)
    write(folder / "coqa.jsonl.gz", [{"story": "A story.\n\nIt ends."}] * 2)
    boolq = {"query": "Fuel -- It -- burns.\nQuestion: does it\nAnswer:"}
    write(folder / "boolq.jsonl.gz", [boolq, boolq])
    return quickstart.read_texts(epath.Path(folder))


def test_each_passage_is_one_document(tmp_path):
    documents, _, _ = texts(tmp_path)
    assert len(documents) == 40 + 3
    assert documents[0].title == "San José"
    assert documents[0].text == "Paragraph 0."
    assert [d.text for d in documents[-3:]] == [
        "A drop.",
        "A story. It ends.",
        "It -- burns.",
    ]
    assert documents[-1].title == "Fuel"
    assert len({d.id for d in documents}) == len(documents)


def test_questions_have_their_paragraph_as_positive(tmp_path):
    documents, train, dev = texts(tmp_path)
    assert len(train) + len(dev) == 80
    by_id = {document.id: document for document in documents}
    for question in train + dev:
        number = int(question.question.removeprefix("Where is ").rstrip("?"))
        assert by_id[question.positives[0]].text == f"Paragraph {number // 2}."
        assert question.answers == ("here", "there")


def test_no_paragraph_is_on_both_sides(tmp_path):
    _, train, dev = texts(tmp_path)
    assert train
    assert dev
    assert not {q.positives for q in train} & {q.positives for q in dev}
