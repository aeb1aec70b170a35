"""Questions on disk read like a list of them."""

import json
import tracemalloc

import numpy as np
import pytest

from radit_jax.retrieval.retrieved_lines import RetrievedLines
from radit_jax.types import Instruction, Retrieved

TASKS = ("", "web_questions", "", "wiki_qa", "", "web_questions")


def question(number, task="", text="où ? \u2028 là"):
    return Retrieved(
        Instruction(f"q{number}", f"{text} {number}", ("a",), ("d",), task=task),
        (number, number + 1),
        (2.0, 1.0),
    )


def write(path, items):
    lines = [json.dumps(item.to_record(), ensure_ascii=False) for item in items]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def items():
    return [question(number, task) for number, task in enumerate(TASKS)]


def test_it_is_the_list_that_was_written(items, tmp_path):
    found = RetrievedLines(write(tmp_path / "train.jsonl", items))
    assert [*found] == items
    assert (len(found), found[-1], found[np.int64(2)]) == (6, items[5], items[2])
    assert [*found[1:5:2]] == items[1:5:2]
    assert [*found[2:].take(np.array([3, 0]))] == [items[5], items[2]]
    with pytest.raises(IndexError):
        found[6]


def test_only_some_sets_are_kept(items, tmp_path):
    path = write(tmp_path / "train.jsonl", items)
    found = RetrievedLines(path, ("", "wiki_qa"))
    assert [item.instruction.id for item in found] == ["q0", "q2", "q3", "q4"]


def test_a_file_without_questions(tmp_path):
    assert not [*RetrievedLines(write(tmp_path / "train.jsonl", []))]


def test_the_texts_stay_on_disk(tmp_path):
    """8 MB of questions, of which a pass over all holds a sixteenth at most."""
    items = [question(number, text="word " * 400) for number in range(4000)]
    path = write(tmp_path / "train.jsonl", items)
    assert path.stat().st_size > 8e6
    tracemalloc.start()
    found = RetrievedLines(path)
    num_letters = sum(len(item.instruction.query) for item in found)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_letters > 8e6
    assert peak < 5e5
