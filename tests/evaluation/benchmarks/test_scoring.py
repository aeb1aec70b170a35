import gzip
import json
import pathlib

import numpy as np
import pytest

from radit_jax.evaluation.benchmarks import scoring
from radit_jax.evaluation.benchmarks.item import Item, Page
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
from radit_jax.text import answers

# Prediction, accepted answers, and the numbers of SQuAD's evaluate-v2.0.
CASES = [
    ("The Aar!", ["aar", "river Aar"], 1, 1.0),
    ("Bern, canton of", ["canton of Bern", "Uri"], 0, 1.0),
    ("an  older  Tell's bow", ["Tell's older bow."], 0, 1.0),
    ("", ["Zürich"], 0, 0.0),
    ("the", ["a"], 1, 1.0),
    ("Zurich", ["Zürich"], 0, 0.0),
    ("2,500 m", ["2500m", "2500 m"], 1, 1.0),
    ("naïve — “quoted”", ["naive quoted", "naïve — “quoted”"], 1, 1.0),
    ("מי הוא טל", ["טל"], 0, 0.5),
    ("bow of the Tell", ["Tell's bow"], 0, 0.4),
]
SQUAD = (
    pathlib.Path(__file__).parents[4]
    / "shared"
    / "data"
    / "squad"
    / "dev-v1.1.rebuilt.json.gz"
)
GOLD = [Item(f"n{i}", "nq", "q", tuple(gold)) for i, (_, gold, *_) in enumerate(CASES)]
SAID = [prediction for prediction, *_ in CASES]


@pytest.mark.parametrize(("prediction", "golds", "em", "f1"), CASES)
def test_em_and_f1_are_those_of_squads_script(prediction, golds, em, f1):
    assert answers.exact_match(prediction, golds) == em
    assert answers.f1(prediction, golds) == pytest.approx(f1, abs=1e-12)


def altered(question, words):
    """An answer that is right, dressed up, cut short or too long, by its id."""
    golds = [one["text"] for one in question["answers"]]
    kinds = (
        golds[-1],
        f"the {golds[0].upper()}.",
        " ".join(golds[0].split()[:-1]),
        f"{words[0]} {golds[0]}",
    )
    return kinds[int(question["id"][-2:], 16) % 4], golds


@pytest.mark.shared_data
@pytest.mark.skipif(not SQUAD.exists(), reason=f"SQuAD's dev set is not at {SQUAD}")
def test_totals_over_squads_dev_set():
    """The sums that evaluate-v2.0's own functions gave for the same 10,570 answers."""
    articles = json.loads(gzip.decompress(SQUAD.read_bytes()))["data"]
    pairs = [
        altered(question, paragraph["context"].split())
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    assert len(pairs) == 10_570
    assert sum(answers.exact_match(*pair) for pair in pairs) == 6110
    f1 = sum(answers.f1(*pair) for pair in pairs)
    assert f1 == pytest.approx(8922.079235465364, abs=1e-6)


def test_answer_scores_lead_with_the_papers_metric():
    found = scoring.answer_scores(BENCHMARKS["nq"], GOLD, SAID)
    assert list(found) == ["em", "f1", "contains"]
    assert found["em"][:3].tolist() == [100, 0, 0]
    assert found["f1"][1] == 100
    found = scoring.answer_scores(BENCHMARKS["eli5"], GOLD, SAID)
    assert list(found) == ["rouge_l", "em", "f1", "contains"]
    found = scoring.answer_scores(BENCHMARKS["trex"], GOLD[:1], ["Aar"])
    assert (found["accuracy"][0], found["em"][0]) == (0, 100)


def test_choice_scores():
    items = [
        Item(f"b{i}", "boolq", "q", options=("yes", "no"), gold=i % 2) for i in range(3)
    ]
    found = scoring.choice_scores(BENCHMARKS["boolq"], items, [0, 0, 0])
    np.testing.assert_array_equal(found["accuracy"], [100, 0, 100])
    with pytest.raises(ValueError, match="'b1': option 2 was chosen of 2"):
        scoring.choice_scores(BENCHMARKS["boolq"], items, [0, 2, 0])
    with pytest.raises(ValueError, match="2 predictions for 3 items of boolq"):
        scoring.choice_scores(BENCHMARKS["boolq"], items, [0, 0])
    with pytest.raises(ValueError, match="boolq is a benchmark to 'choice'"):
        scoring.answer_scores(BENCHMARKS["boolq"], items, ["yes"] * 3)
    with pytest.raises(ValueError, match="nq is a benchmark to 'generate'"):
        scoring.choice_scores(BENCHMARKS["nq"], GOLD, [0] * len(GOLD))


def test_kilt_scores_by_page_and_by_title():
    pages = (Page("12", "Aar"),)
    item = Item("k", "fever", "s", ("REFUTES",), ("Yes", "No"), 1, evidence=(pages,))
    said = [scoring.kilt_answer(item, 1)]
    assert said == ["REFUTES"]
    assert scoring.kilt_scores([item], said, [["12"]])["kilt_accuracy"] == [100]
    assert scoring.kilt_scores([item], said, [["Aar"]])["kilt_accuracy"] == [0]
    found = scoring.kilt_scores([item], said, [["Aar"]], by="title")
    assert found["kilt_accuracy"] == [100]
