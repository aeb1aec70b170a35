"""What is said of a query tower before and after."""

import numpy as np

from radit_jax.evaluation import tower_quality


def scores(mrr):
    mrr = np.array(mrr)
    return {"mrr": mrr, "recall@1": 100.0 * (mrr == 1)}


BEFORE = scores([0.5] * 40 + [1.0] * 20)
AFTER = scores([1.0] * 40 + [0.5] * 20)


def test_before_after_and_the_difference_by_hand():
    found = tower_quality.compare(AFTER, BEFORE)
    assert found["questions"] == 60
    np.testing.assert_allclose(found["before"]["mrr"], 40 / 60)
    np.testing.assert_allclose(found["after"]["mrr"], 50 / 60)
    difference = found["difference"]["mrr"]
    np.testing.assert_allclose(difference["value"], 10 / 60)
    # Paired differences are ±1/2: their mean has a standard error of 0.061.
    assert 0.03 < difference["low"] < 0.07
    assert 0.26 < difference["high"] < 0.30


def test_a_gain_a_loss_and_no_clear_change_are_told_apart():
    gain = tower_quality.sentence(tower_quality.compare(AFTER, BEFORE))
    assert "validation mrr 0.6667 -> 0.8333, +0.1667 (95 % of +0.0" in gain
    assert gain.endswith("on 60 questions: a gain")
    loss = tower_quality.sentence(tower_quality.compare(BEFORE, AFTER), "recall@1")
    assert "validation recall@1 66.7 -> 33.3, −33.3" in loss
    assert loss.endswith("a loss")
    same = tower_quality.sentence(tower_quality.compare(BEFORE, BEFORE))
    assert same.endswith("no clear change")


def test_harm_is_warned_of_and_a_gain_is_not(caplog):
    tower_quality.warn_of_harm(AFTER, BEFORE, 5)
    assert not caplog.text
    tower_quality.warn_of_harm(BEFORE, AFTER, 5)
    assert "fine-tuning harms. At its last step: validation mrr 0.8333" in caplog.text
    assert "Step 5, which validates best, is kept" in caplog.text
