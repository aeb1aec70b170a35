"""Every fine-tuning set on real records: what is kept, what is dropped and why.

`pytest -m shared_data -s` prints the table.
"""

import pytest

from radit_jax.instruct.tasks import TASKS, sources
from radit_jax.instruct.tasks.task import Drop
from tests.instruct.tasks import shared_files

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(
        not shared_files.SHARED.exists(),
        reason=f"the real data files are not in {shared_files.SHARED}",
    ),
]

NOT_THERE = {"ecqa"}  # its explanations are in none of the real files
NO_CONTEXT = {"quarel"}  # where the question is one sentence

# (set, split) → (records, instructions, records and parts of them dropped)
COUNTS = {
    ("oasst1", "train"): (100, 147, 540),
    ("commonsense_qa", "train"): (9741, 9741, 0),
    ("commonsense_qa", "validation"): (1221, 1221, 0),
    ("math_qa", "train"): (1, 1, 0),
    ("math_qa", "validation"): (1, 1, 0),
    ("web_questions", "train"): (3778, 3777, 1),
    ("wiki_qa", "train"): (2117, 872, 1245),
    ("wiki_qa", "validation"): (1, 0, 1),
    ("yahoo_answers_qa", "train"): (4, 4, 0),
    ("freebase_qa", "train"): (5, 5, 0),
    ("freebase_qa", "validation"): (3996, 3996, 0),
    ("ms_marco", "train"): (1, 1, 0),
    ("ms_marco", "validation"): (1, 1, 0),
    ("coqa", "train"): (1, 20, 0),
    ("coqa", "validation"): (500, 7983, 0),
    ("drop", "train"): (5, 5, 0),
    ("drop", "validation"): (9536, 9535, 1),
    ("narrativeqa", "train"): (1, 1, 0),
    ("narrativeqa", "validation"): (1, 1, 0),
    ("newsqa", "train"): (18, 16, 2),
    ("newsqa", "validation"): (9, 5, 4),
    ("pubmed_qa", "train"): (1000, 1000, 0),
    ("quail", "train"): (556, 556, 0),
    ("quail", "validation"): (2164, 2164, 0),
    ("quarel", "train"): (2, 2, 0),
    ("quarel", "validation"): (2, 2, 0),
    ("squad_v2", "train"): (2, 2, 0),
    ("squad_v2", "validation"): (11873, 11873, 0),
    ("cnn_dailymail", "train"): (3, 3, 0),
    ("cnn_dailymail", "validation"): (2, 2, 0),
    ("aqua_rat", "train"): (254, 254, 0),
    ("aqua_rat", "validation"): (254, 254, 0),
    ("gsm8k", "train"): (7473, 7473, 0),
    ("competition_math", "train"): (5000, 5000, 0),
    ("strategyqa", "train"): (2290, 2290, 0),
}


@pytest.mark.parametrize("name", TASKS)
def test_every_record_is_accounted_for(name, tmp_path, capsys):
    if name in NOT_THERE:
        pytest.skip(f"there are no real records of {name}")
    task = TASKS[name]
    folder = tmp_path / "manual" / name
    folder.mkdir(parents=True)
    for file, content in getattr(shared_files, name)().items():
        (folder / file).write_bytes(content)
    sources.prepare(task, tmp_path / "sets", tmp_path / "manual")
    for split in sources.splits(task):
        summary = sources.Summary()
        found = list(sources.read(task, split, tmp_path / "sets", summary))
        with capsys.disabled():
            print(f"\n{name}, {split}: {summary}", end="")
        kept = [one for one in found if not isinstance(one, Drop)]
        assert summary.kept == len(kept)
        assert summary.dropped.total() == len(found) - len(kept)
        assert COUNTS[name, split] == (
            summary.records,
            summary.kept,
            summary.dropped.total(),
        )
        for one in kept:
            _check(task, one)


def _check(task, one):
    assert one.id.startswith(f"{task.name}:")
    assert (one.task, one.category) == (task.name, task.category)
    assert one.question == one.question.strip()
    assert all(answer.strip() for answer in one.answers)
    assert len(set(one.answers)) == len(one.answers)
    assert len(one.history) % 2 == 0
    gold = task.category in ("reading_comprehension", "summarization")
    assert bool(one.context) == gold or task.name in NO_CONTEXT
    assert bool(one.rationale) == (task.category == "chain_of_thought")
