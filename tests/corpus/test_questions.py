"""Questions: read with care, split by document, subset by seed."""

import collections
import json

import pytest

from radit_jax.corpus import questions
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.types import Instruction


def write(path, *records):
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines) + "\n")
    return path


def made(num, num_documents=0):
    return [
        Instruction(
            f"q{i}",
            f"{i}?",
            ("a",),
            (f"d{i % num_documents}",) if num_documents else (),
        )
        for i in range(num)
    ]


def test_reads_both_forms_of_answers(tmp_path):
    path = write(
        tmp_path / "train.jsonl",
        {
            "question": " Who? ",
            "answers": ["A", " B "],
            "id": "x",
            "positives": ["d", 3],
        },
        "",
        {"question": "日本?", "answers": "yes", "id": None, "extra": 1},
        {"question": "When?", "answers": ["1990"], "id": 12, "positives": "d9"},
    )
    assert questions.read_questions(path) == [
        Instruction("x", "Who?", ("A", "B"), ("d", "3")),
        Instruction("train.jsonl:3", "日本?", ("yes",)),
        Instruction("12", "When?", ("1990",), ("d9",)),
    ]


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "a?", "answers": "b"}\r\n\r\n')
    assert questions.read_questions(path) == [Instruction("q.jsonl:1", "a?", ("b",))]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", "q.jsonl:2 is not valid JSON .Expecting property name .* at column 2"),
        ("3", "q.jsonl:2 is a JSON int, not an object: 3"),
        (
            '{"query": "?", "answers": "a"}',
            r"q.jsonl:2 has no 'question' field; found \['query', 'answers'\]: add it",
        ),
        ('{"question": "?", "answer": "a"}', "q.jsonl:2 has no 'answers' field; found"),
        (
            '{"question": 4, "answers": "a"}',
            "'question' is 4, not a string; correct it",
        ),
        ('{"question": " ", "answers": "a"}', "q.jsonl:2 'question' is empty; correct"),
        (
            '{"question": "?", "answers": []}',
            "q.jsonl:2 has no answers; give one at le",
        ),
        ('{"question": "?", "answers": null}', "q.jsonl:2 has no answers; give one"),
        (
            '{"question": "?", "answers": [""]}',
            "'answers' has one that is empty; corre",
        ),
        (
            '{"question": "?", "answers": ["a", 5]}',
            "'answers' has one that is 5, not a",
        ),
        (
            '{"question": "?", "answers": {"a": 1}}',
            "'answers' has one that is {'a': 1}",
        ),
        (
            '{"question": "?", "answers": "a", "id": ["b"]}',
            r"'id' has \['b'\], not a st",
        ),
        (
            '{"question": "?", "answers": "a", "positives": ["b", 0.5]}',
            "'positives' has 0.5, not a string or a whole number; correct it",
        ),
        (
            '{"question": "?", "answers": "a", "id": "x"}',
            "q.jsonl:2 repeats the id 'x'; give it one of its own",
        ),
    ],
)
def test_a_bad_line(tmp_path, line, match):
    fine = {"question": "Who?", "answers": "A", "id": "x"}
    path = write(tmp_path / "q.jsonl", fine, line)
    with pytest.raises(CorpusError, match=match):
        questions.read_questions(path)


def test_a_line_that_is_not_utf8(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"question": "caf\xe9?", "answers": "a"}\n')
    with pytest.raises(CorpusError, match=r"q.jsonl:1 is not UTF-8: byte 0xe9"):
        questions.read_questions(path)


def test_problems_are_told_together(tmp_path):
    path = write(tmp_path / "q.jsonl", "oops", {"question": "", "answers": []})
    with pytest.raises(
        CorpusError, match="(?s)3 problem.*:1 is not.*:2 'qu.*:2 has no"
    ):
        questions.read_questions(path)


@pytest.mark.parametrize("name", ["nowhere.jsonl", "."])
def test_a_missing_file(tmp_path, name):
    with pytest.raises(CorpusError, match="is not a file of questions. Name a .jsonl"):
        questions.read_questions(tmp_path / name)


def test_an_empty_file(tmp_path):
    with pytest.raises(CorpusError, match="q.jsonl holds no questions. Write one JSON"):
        questions.read_questions(write(tmp_path / "q.jsonl"))


def test_no_document_is_on_both_sides():
    instructions = made(300, num_documents=40)
    train, validation = questions.split_validation(instructions, 0.1, seed=0)
    ours = {one.positives[0] for one in train}
    assert not ours & {one.positives[0] for one in validation}
    assert sorted(train + validation, key=instructions.index) == instructions
    assert 30 <= len(validation) < 30 + 8  # a document has 7 or 8 questions
    assert train == sorted(train, key=instructions.index)


def test_without_positives_the_split_is_by_question():
    train, validation = questions.split_validation(made(50), 0.1, seed=0)
    assert (len(train), len(validation)) == (45, 5)


def test_the_turns_of_a_conversation_are_on_one_side():
    turns = [
        Instruction(f"{i}/{turn}", "Go on?", ("a",), history=(f"{i}?", "b") * turn)
        for i in range(20)
        for turn in (1, 2)
    ]
    turns += made(20)  # their openings
    train, validation = questions.split_validation(turns, 0.2, seed=0)
    sides = [
        {(*one.history, one.question)[0] for one in t} for t in (train, validation)
    ]
    assert not sides[0] & sides[1]
    assert len(validation) == 12  # 4 conversations


def test_the_split_depends_on_the_seed_not_on_the_order():
    instructions = made(60, num_documents=20)
    splits = [
        questions.split_validation(some, 0.3, seed)[1]
        for some, seed in [
            (instructions, 1),
            (instructions[::-1], 1),
            (instructions, 2),
        ]
    ]
    assert splits[0] == splits[1][::-1]
    assert splits[0] != splits[2]


def test_every_question_can_come_into_validation():
    instructions = made(10)
    counts = collections.Counter(
        questions.split_validation(instructions, 0.1, seed)[1][0].id
        for seed in range(1000)
    )
    assert len(counts) == 10
    assert all(60 < count < 140 for count in counts.values())


def test_small_shares():
    assert questions.split_validation(made(5), 0.0, seed=0) == (made(5), [])
    assert len(questions.split_validation(made(5), 0.01, seed=0)[1]) == 1


def test_a_split_that_leaves_nothing_to_train_on():
    match = "5 questions from 1 document.s. can't .* share of 0.1 .*validation_fraction"
    with pytest.raises(CorpusError, match=match):
        questions.split_validation(made(5, num_documents=1), 0.1, seed=0)


def test_subset():
    instructions = made(100)
    small, large, other = (
        questions.subset(instructions, limit, seed)
        for limit, seed in [(10, 0), (30, 0), (10, 1)]
    )
    assert (len(small), len(large)) == (10, 30)
    assert small == sorted(small, key=instructions.index)
    assert set(small) < set(large)
    assert small != other
    assert questions.subset(instructions, 0, 0) == instructions
    assert questions.subset(instructions, 500, 0) == instructions
