"""The browser's data: what is in it, how large it may be, and that it stays data."""

import json

import pytest

from radit_jax.evaluation import items

LMS = ("base", "it", "ra_it")


def _passage(text, document_id="d1", answers=None):
    return {
        "title": "",
        "text": text,
        "document_id": document_id,
        "is_positive": True,
        "p_r_base": 0.123456,
        "p_r_tuned": None,
        "p_lsr": 1e-9,
        "answers": answers or {"base": "Pell", "ra_it": "Pell"},
    }


def _system(name, answer="Pell", correct=True):
    candidates = [(answer, 0.75), ("Isk", 0.25)]
    return {"name": name, "answer": answer, "probability": 0.75} | {
        "correct": correct,
        "candidates": candidates,
    }


def _question(question="Who?", passages=None, answers=("Pell",)):
    return {
        "question": question,
        "answers": list(answers),
        "passages": [_passage("Pell won.")] if passages is None else passages,
        "systems": [_system("REPLUG", correct=False), _system("RA-DIT")],
    }


def test_texts_are_stored_once_and_named_by_their_place():
    document = json.loads(items.encode([_question(), _question("Who else?")]))
    assert document["systems"] == ["REPLUG", "RA-DIT"]
    assert document["lms"] == ["untuned", "RA-IT"]
    assert document["texts"].count("Pell") == 1
    assert len(document["passages"]) == 1
    question, answers, systems, passages = document["items"][1]
    texts = document["texts"]
    assert (question, [texts[i] for i in answers]) == ("Who else?", ["Pell"])
    assert systems[0][0] == 0
    assert systems[1][0] == 1
    assert [(texts[i], p) for i, p in systems[1][3]] == [("Pell", 0.75), ("Isk", 0.25)]
    place, is_gold, before, after, lsr, own = passages[0]
    assert document["passages"][place] == [texts.index("d1"), "Pell won."]
    assert (is_gold, before, after, lsr) == (1, 0.123, None, 1e-9)
    assert [texts[i] for i in own] == ["Pell", "Pell"]


@pytest.mark.parametrize(
    "text", ["</script>", "<!--<script>", "\u2028", "\ud800", "🙂 من"]
)
def test_hostile_text_cannot_leave_the_script(text):
    encoded = items.encode([_question(text, [_passage(text)], [text])])
    assert not {"<", ">", "&"} & set(encoded)
    document = json.loads(encoded)
    assert document["items"][0][0] == text
    assert document["passages"][0][1] == text


def test_passages_are_cut_around_the_answer_where_there_is_no_room():
    long = "a " * 2000 + "Pell" + " b" * 2000
    whole = json.loads(items.encode([_question(passages=[_passage(long)])]))
    assert (whole["cut"], whole["passages"][0][1]) == (0, long)
    encoded = items.encode([_question(passages=[_passage(long)])], most_bytes=1500)
    assert len(encoded) <= 1500
    cut = json.loads(encoded)
    text = cut["passages"][0][1]
    assert "Pell" in text
    assert (text[0], text[-1]) == ("…", "…")
    assert len(text) == cut["cut"] + 2


def crowded(num):
    """Questions with ten passages each, no two alike."""
    text = " ".join(f"word{i}" for i in range(60_000))

    def question(row):
        said = [text[(40 * row + j) * 3 :][:24] for j in range(6)]
        passages = [
            _passage(
                text[150 * row + j :][:700],
                f"{row}-{j}",
                dict.fromkeys(LMS, said[j % 6]),
            )
            for j in range(10)
        ]
        made = _question(text[row:][:70], passages, [said[0]])
        made["systems"] = [_system(f"s{j}", said[j]) for j in range(6)]
        return made

    return [question(row) for row in range(num)]


def test_questions_that_do_not_fit_are_left_out():
    encoded = items.encode(crowded(40), most_bytes=20_000)
    assert 10_000 < len(encoded.encode()) <= 20_000
    document = json.loads(encoded)
    assert document["num_asked"] == 40
    assert 5 < len(document["items"]) < 40
    assert 60 <= document["cut"] < 120


def test_no_questions():
    assert json.loads(items.encode([]))["items"] == []
