import pytest

from radit_jax.evaluation import paper_results
from radit_jax.evaluation.benchmarks import tasks
from radit_jax.evaluation.paper_results import TABLES

ROWS = [(table, row) for table in TABLES.values() for row in table.rows if row.scores]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda x: getattr(x, "system", ""))
def test_means_close(table, row):
    """To the one decimal that is printed."""
    assert row.scores.keys() <= set(table.tasks)
    mean = sum(row.scores.values()) / len(row.scores)
    assert abs(mean - row.mean) <= 0.05 + 1e-9


def test_tables_have_the_benchmarks_in_their_order():
    names = tuple(one.name for one in tasks.KNOWLEDGE)
    assert paper_results.KNOWLEDGE.tasks == names
    names = tuple(one.name for one in tasks.COMMONSENSE)
    assert paper_results.COMMONSENSE.tasks == names
    assert set(paper_results.DEV_SIX) < set(paper_results.KNOWLEDGE.tasks)


def test_64_shot_rows_leave_out_what_was_not_fine_tuned():
    row = paper_results.KNOWLEDGE.row("RA-DIT", 64)
    assert len(row.scores) == 8 and row.scores["aida"] == 80.5
    assert not {"mmlu", "eli5"} & row.scores.keys()


def test_cells_stand_under_their_tasks():
    row = paper_results.KNOWLEDGE.row("RA-DIT", 0)
    assert (row.scores["mmlu"], row.scores["trex"], row.scores["wow"]) == (
        64.6,
        53.1,
        16.4,
    )
    assert paper_results.COMMONSENSE.row("LLaMA", 0).scores["obqa"] == 60.2


def test_an_unknown_system():
    with pytest.raises(KeyError, match="knowledge has no 'GPT' with 0 shots; it has"):
        paper_results.KNOWLEDGE.row("GPT", 0)
