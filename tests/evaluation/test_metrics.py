import numpy as np
import pytest

from radit_jax.evaluation import metrics


def test_bootstrap_interval_equals_a_loop_over_the_same_draws():
    values = [3.0, 0.0, 10.0, 4.0, 1.0]
    rng = np.random.default_rng(7)
    draws = rng.integers(0, 5, (300, 5))
    means = sorted(sum(values[i] for i in draw) / 5 for draw in draws)
    # The 2.5 % point of 300 sorted means lies between the 8th and the 9th.
    low = means[7] + (means[8] - means[7]) * (0.025 * 299 - 7)
    mean, got_low, high = metrics.bootstrap_interval(values, 300, 7)
    assert mean == pytest.approx(3.6)
    assert got_low == pytest.approx(low)
    assert low < mean < high


def test_bootstrap_interval_is_seeded_and_close_to_the_normal_one():
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    first = metrics.bootstrap_interval(values, 2000, 1)
    assert first == metrics.bootstrap_interval(values, 2000, 1)
    assert first != metrics.bootstrap_interval(values, 2000, 2)
    half_width = 1.96 * values.std() / np.sqrt(400)
    np.testing.assert_allclose(first[2] - first[1], 2 * half_width, rtol=0.08)


def test_bootstrap_interval_does_not_depend_on_the_block(monkeypatch):
    values = [1.0, 2.0, 4.0]
    whole = metrics.bootstrap_interval(values, 50, 3)
    monkeypatch.setattr(metrics, "_RESAMPLE_BLOCK", 21)
    assert metrics.bootstrap_interval(values, 50, 3) == pytest.approx(whole)


def test_bootstrap_interval_of_equal_values_has_no_width():
    assert metrics.bootstrap_interval([2.5] * 9, 100, 0) == (2.5, 2.5, 2.5)


@pytest.mark.parametrize(
    ("values", "num_resamples", "message"),
    [
        ([], 10, r"shape \(0,\); give one score a question"),
        ([1.0, float("nan")], 10, "score 1 is nan; leave out"),
        ([1.0], 0, "num_resamples is 0; set --config.evaluation.num_bootstrap"),
    ],
)
def test_bootstrap_interval_refuses(values, num_resamples, message):
    with pytest.raises(ValueError, match=message):
        metrics.bootstrap_interval(values, num_resamples, 0)


def test_paired_difference_is_narrower_than_unpaired():
    rng = np.random.default_rng(0)
    hardness = rng.normal(0, 10, 200)
    first, second = hardness + rng.normal(1, 1, 200), hardness + rng.normal(0, 1, 200)
    paired = metrics.paired_difference(first, second, 500, 0)
    alone = metrics.interval(first, 500, 0)
    assert paired["value"] == pytest.approx(first.mean() - second.mean())
    assert paired["high"] - paired["low"] < (alone["high"] - alone["low"]) / 3
    assert paired["low"] > 0


def test_paired_difference_refuses_other_questions():
    with pytest.raises(ValueError, match=r"\(2,\), the other of \(3,\); score both"):
        metrics.paired_difference([1.0, 2.0], [1.0, 2.0, 3.0], 10, 0)


def test_score_predictions_in_percent():
    lines = [
        {"answer": "The Eiffel Tower", "answers": ["eiffel tower"], "id": "a"},
        {"answer": "It is in Paris, France", "answers": ["Rome", "Paris"], "id": "b"},
        {"answer": "no", "answers": ["yes"], "id": "c"},
    ]
    scores = metrics.score_predictions(lines)
    assert scores["em"] == [100.0, 0.0, 0.0]
    assert scores["contains"] == [100.0, 100.0, 0.0]
    # One of five tokens is right, and the one accepted is found: 2 * 1 / (5 + 1).
    assert scores["f1"] == pytest.approx([100.0, 100 / 3, 0.0])


def test_score_predictions_names_the_missing_field():
    with pytest.raises(ValueError, match=r"prediction 1 has no \['answers'\]; found"):
        metrics.score_predictions(
            [{"answer": "a", "answers": ["a"]}, {"answer": "b", "id": "x"}]
        )


def test_retrieval_scores_equal_a_loop():
    rng = np.random.default_rng(5)
    names = [f"d{i}" for i in range(9)]
    ranked = [list(rng.choice(names, 6)) for _ in range(40)]
    positives = [list(rng.choice(names, rng.integers(1, 3))) for _ in range(40)]
    scores = metrics.retrieval_scores(ranked, positives, [1, 3, 6])
    for i in range(40):
        rank = None
        for j in range(6):
            if rank is None and ranked[i][j] in positives[i]:
                rank = j + 1
        assert scores["mrr"][i] == pytest.approx(1 / rank if rank else 0.0)
        for k in (1, 3, 6):
            found = 100.0 if rank and rank <= k else 0.0
            assert scores[f"recall@{k}"][i] == found


def test_retrieval_metrics_counts_what_it_leaves_out():
    ranked = [["a", "c", "b"], ["a", "b", "c"], ["a", "b", "c"]]
    positives = [("b", "c"), (), ("z",)]
    got = metrics.retrieval_metrics(ranked, positives, [1, 2], 200, 0)
    assert (got["num_questions"], got["num_without_positives"]) == (2, 1)
    assert got["recall@1"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert got["recall@2"] == {"value": 50.0, "low": 0.0, "high": 100.0}
    assert got["mrr"]["value"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("ranked", "positives", "message"),
    [
        ([["a"]], [], "1 ranked lists for 0 questions"),
        ([["a", "b"]], [()], "none of 1 questions names its positives"),
        ([["a"]], [("a",)], "recall@2 needs 2 chunks a question, but one has 1"),
    ],
)
def test_retrieval_scores_refuses(ranked, positives, message):
    with pytest.raises(ValueError, match=message):
        metrics.retrieval_scores(ranked, positives, [1, 2])


def test_accuracy_is_letter_by_letter():
    assert metrics.accuracy(" Bern ", ["Uri", "Bern"])
    assert not metrics.accuracy("bern", ["Uri", "Bern"])
    with pytest.raises(ValueError, match="accepted answers are 'Bern'; give"):
        metrics.accuracy("Bern", "Bern")
