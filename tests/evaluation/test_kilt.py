"""KILT's scores on hand-written cases, and on the cases of its own tests."""

import json
import pathlib

import numpy as np
import pytest

from radit_jax.evaluation import kilt

FOLDER = pathlib.Path(__file__).parents[3] / "shared" / "data" / "kilt_tests"
SETS = [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        (["b", "d", "c"], 0.5),
        (["b", "a"], 1.0),
        (["b", "b", "a"], 1.0),  # a page counts once
        (["c", "x"], 1.0),
        (["x", "c"], 0.0),
        ([], 0.0),
    ],
)
def test_r_precision(pages, expected):
    assert kilt.r_precision(SETS, pages) == expected


def test_r_precision_without_evidence():
    assert kilt.r_precision([], ["a"]) == 0
    assert kilt.r_precision([[]], ["a"]) == 0


@pytest.mark.parametrize(
    ("evidence", "pages", "depth", "expected"),
    [
        (SETS, ["a", "x", "b", "c"], 2, 0.5),  # ranks as x, {a b}, c
        (SETS, ["a", "x", "b", "c"], 3, 1.0),
        (SETS, ["a", "x", "y", "b"], 1, 0.0),
        (SETS, ["c", "a"], 1, 0.5),
        ([*SETS, ["b", "a"]], ["c"], 5, 0.5),  # the same set twice is one set
        ([["a", "b"], ["b", "c"]], ["a", "c", "b"], 2, 1.0),  # b completes both
        ([], ["a"], 5, 0.0),
        (SETS, [], 5, 0.0),
    ],
)
def test_recall(evidence, pages, depth, expected):
    assert kilt.recall_at(evidence, pages, depth) == expected


def test_kilt_scores_count_only_with_all_evidence():
    found = kilt.scores(
        ["Suicide", "a suicide", "suicide"],
        [["suicide"], ["suicide"], ["suicide", "Suicide"]],
        [["7"], ["9"], ["8", "7"]],
        [[["7"]], [["7"]], [["7", "8"]]],
    )
    np.testing.assert_array_equal(found["accuracy"], [0, 0, 100])
    np.testing.assert_array_equal(found["em"], [100, 100, 100])
    np.testing.assert_array_equal(found["r_precision"], [100, 0, 100])
    np.testing.assert_array_equal(found["kilt_em"], [100, 0, 100])
    np.testing.assert_array_equal(found["kilt_accuracy"], [0, 0, 100])
    np.testing.assert_allclose(found["kilt_rouge_l"], [0, 0, 100], atol=1e-5)


def test_counts_must_agree():
    with pytest.raises(ValueError, match="1 predictions, 2 lists of accepted"):
        kilt.scores(["a"], [["a"], ["b"]], [[]], [[]])


def test_guess_record_is_scored_as_it_was_made():
    record = kilt.guess_record("k-1", "Bern", ["12", "7", "12"])
    assert record["output"][0]["provenance"] == [
        {"wikipedia_id": "12"},
        {"wikipedia_id": "7"},
    ]
    assert guess_of(record) == ("Bern", ["12", "7"])


def guess_of(record):
    (output,) = record["output"]
    pages = [str(one["wikipedia_id"]) for one in output["provenance"]]
    return output.get("answer", ""), pages


def read(name):
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


def scored(gold, guess):
    golds, guesses = read(gold), [guess_of(record) for record in read(guess)]
    found = kilt.scores(
        [answer for answer, _ in guesses],
        [[output["answer"] for output in one["output"]] for one in golds],
        [pages for _, pages in guesses],
        [
            [[str(p["wikipedia_id"]) for p in o["provenance"]] for o in one["output"]]
            for one in golds
        ],
    )
    return {name: values.mean() / 100 for name, values in found.items()}


# What `tests/test_eval_downstream.py` and `test_eval_retrieval.py` of KILT assert.
PUBLISHED = {
    ("gold1.jsonl", "guess1_1.jsonl"): {
        "kilt_em": 1 / 3,
        "kilt_f1": 1 / 3,
        "kilt_rouge_l": 0.3333333316666667,
        "em": 2 / 3,
        "f1": 0.8333333333333334,
        "rouge_l": 0.7222222178240741,
        "r_precision": 1 / 3,
        "recall@5": 1 / 3,
    },
    ("gold1.jsonl", "gold1.jsonl"): {
        "kilt_em": 1,
        "kilt_f1": 1,
        "kilt_rouge_l": 0.999999995,
        "em": 1,
        "f1": 1,
        "rouge_l": 0.999999995,
        "r_precision": 1,
        "recall@5": 1,
    },
    ("gold3.jsonl", "guess3_1.jsonl"): {
        "kilt_em": 0,
        "kilt_f1": 0.25510204081632654,
        "kilt_rouge_l": 0.22352940932318338,
        "em": 0,
        "f1": 0.5102040816326531,
        "rouge_l": 0.44705881864636676,
    },
    ("gold2.jsonl", "guess2_1.jsonl"): {"r_precision": 1 / 2, "recall@5": 2 / 3},
    ("gold2.jsonl", "guess2_2.jsonl"): {"r_precision": 1, "recall@5": 1 / 3},
}


@pytest.mark.shared_data
@pytest.mark.skipif(not FOLDER.exists(), reason=f"KILT's cases are not in {FOLDER}")
@pytest.mark.parametrize("files", PUBLISHED, ids=" ".join)
def test_published_numbers(files):
    found = scored(*files)
    for name, expected in PUBLISHED[files].items():
        assert found[name] == pytest.approx(expected, abs=1e-12), name
