import sys

import pytest

from radit_jax.evaluation import rouge

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")


def longest(first, second):
    """The length of the longest common subsequence, by trying all of them."""
    if not first or not second:
        return 0
    if first[0] == second[0]:
        return 1 + longest(first[1:], second[1:])
    return max(longest(first[1:], second), longest(first, second[1:]))


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        ("the cat sat on a mat", "a cat lay on the mat"),
        ("One, two; three!", "three two one"),
        ("Snow", "Snow"),
        ("x", "y"),
    ],
)
def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence(prediction, gold):
    words = [
        "".join(c if c.isalnum() else " " for c in text.lower()).split()
        for text in (prediction, gold)
    ]
    length = longest(*words)
    expected = 2 * length / (len(words[0]) + len(words[1]))
    assert rouge.rouge_l(prediction, [gold]) == pytest.approx(expected)


def test_the_best_gold_counts():
    assert rouge.rouge_l("a b c", ["x", "a b c d"]) == pytest.approx(6 / 7)
    assert rouge.kilt_rouge_l("a b c", ["x", "a b c d"]) == pytest.approx(6 / 7)


def test_rouge_l_does_not_stem():
    assert rouge.rouge_l("running", ["runs"]) == 0


@pytest.mark.parametrize("measure", [rouge.rouge_l, rouge.kilt_rouge_l])
def test_no_golds(measure):
    with pytest.raises(rouge.RougeError, match="accepted answers are"):
        measure("a", [])
    with pytest.raises(rouge.RougeError, match="accepted answers are 'b'"):
        measure("a", "b")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    rouge._scorer.cache_clear()
    with pytest.raises(rouge.RougeError, match=r"radit_jax\[benchmarks\]"):
        rouge.rouge_l("a", ["a"])


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        # Words are told apart by case and marks, unlike in rouge-score.
        ("a Suicide,", "suicide", 0.0),
        ("suicide", "it was suicide", 0.5),
        # Each different word counts once: 2 of 2 and 2 of 3.
        ("no no yes", "no yes maybe", 0.8),
        # Two sentences against one: "a b" and "c" are both in it, in spite of order.
        ("c d. a b", "a b c", 2 * 3 / 7),
        ("...", "a", 0.0),
        ("", "a", 0.0),
    ],
)
def test_kilt_rouge_l(prediction, gold, expected):
    found = rouge.kilt_rouge_l(prediction, [gold])
    assert found == pytest.approx(expected, abs=1e-7)


def test_kilt_rouge_l_has_the_packages_epsilon():
    assert rouge.kilt_rouge_l("a", ["a"]) == pytest.approx(0.999999995, abs=1e-12)
