"""Which questions teach, and what each teacher says of their chunks."""

import dataclasses

import numpy as np
import pytest

from radit_jax.config import ConfigError, RetrieverTrainingConfig
from radit_jax.corpus import store as store_lib
from radit_jax.retrieval import supervision
from radit_jax.retrieval.lm_scores import LMScores
from radit_jax.types import Chunk, Instruction, Retrieved

SETTINGS = RetrieverTrainingConfig().resolved(1.0)
CHUNK_IDS = ((0, 1, 2), (3, 4), (5,), (1, 3, 5), (4, 2, 0))
POSITIVES = (("d1",), ("d4", "d9"), ("d5",), (), ("d3",))
VALUES = [[-1, -2, -3], [-4, -6, 0], [-5, 0, 0], [0, 0, 0], [-3, -2, -1]]
NUM_TOKENS = [[2, 2, 2], [1, 1, 0], [1, 0, 0], [0, 0, 0], [3, 3, 3]]


@pytest.fixture
def store(tmp_path):
    chunks = [Chunk(i, f"d{i}", f"text {i}") for i in range(6)]
    store_lib.write_chunks(tmp_path, chunks)
    return store_lib.ChunkStore(tmp_path)


@pytest.fixture
def found():
    return [
        Retrieved(
            Instruction(f"q{i}", f"question {i}", ("yes",), positives, task="set" * i),
            ids,
            (1.0,) * len(ids),
        )
        for i, (ids, positives) in enumerate(zip(CHUNK_IDS, POSITIVES, strict=True))
    ]


def lm_scores(values=VALUES):
    num_tokens = np.array(NUM_TOKENS, np.int32)
    return LMScores(
        np.array(values, np.float32),
        num_tokens,
        np.zeros(num_tokens.shape, np.int64),
        np.empty(0, np.float32),
    )


def test_a_question_with_fewer_chunks_is_kept_with_a_mask(found, store):
    kept = supervision.supervise(found, lm_scores(), SETTINGS, store)
    assert [*kept.queries] == ["question 0", "question 1", "question 4"]
    assert kept.chunk_ids.tolist() == [[0, 1, 2], [3, 4, 0], [4, 2, 0]]
    assert kept.scores.mask.tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 1]]
    assert kept.left_out == {"without scores": 1, "with one chunk": 1}
    assert sum(kept.sizes.values()) == 3


def test_questions_beyond_the_scores_are_unknown(found, store):
    scores = lm_scores().take(np.arange(2))
    kept = supervision.supervise(found, scores, SETTINGS, store)
    assert [*kept.queries] == ["question 0", "question 1"]


def test_gold_scores_are_one_for_chunks_of_positives(found, store):
    settings = dataclasses.replace(SETTINGS, teacher="gold")
    found[0] = dataclasses.replace(
        found[0], instruction=dataclasses.replace(found[0].instruction, positives=())
    )
    kept = supervision.supervise(found, lm_scores(), settings, store)
    assert [*kept.queries] == ["question 1"]
    assert kept.scores.values.tolist() == [[0, 1, 0]]
    assert kept.left_out == {
        "without scores": 1,
        "with one chunk": 1,
        "without positives": 1,
        "without a positive chunk": 1,
    }


def test_shuffled_scores_are_the_seeds(found, store):
    many = [item for item in found for _ in range(20)]
    scores = lm_scores().take(np.repeat(np.arange(5), 20))
    settings = dataclasses.replace(SETTINGS, teacher="shuffled", seed=3)
    kept = supervision.supervise(many, scores, settings, store)
    np.testing.assert_array_equal(
        kept.scores.values, scores.shuffled(3).values[[*range(40), *range(80, 100)]]
    )


def test_a_score_that_is_not_finite_names_its_question(found, store):
    values = [[-1.0, -2, -3], [-4, np.nan, 0], *VALUES[2:]]
    with pytest.raises(ConfigError, match=r"question 'q1' is \[-4. nan"):
        supervision.supervise(found, lm_scores(values), SETTINGS, store)


def test_counts_say_what_is_learned_from(found, store, caplog):
    kept = supervision.supervise(found, lm_scores(), SETTINGS, store)
    none = supervision.supervise([], lm_scores().take(np.arange(0)), SETTINGS, store)
    counts = supervision.counts(kept, none, SETTINGS)
    assert counts["questions"] == 3
    assert counts["nearly_uniform"] == 0
    assert counts["left_out"] == {"without scores": 1, "with one chunk": 1}
    assert counts["lm_temperature"] == 0.01
    assert "nearly uniform" not in caplog.text


def test_scores_that_teach_nothing_are_warned_of(found, store, caplog):
    """Equal for two of three questions at τ = 0.01; nearly so for all at τ = 1000."""
    values = [[-1.0, -1, -1], [-4, -4, 0], *VALUES[2:]]
    kept = supervision.supervise(found, lm_scores(values), SETTINGS, store)
    none = supervision.supervise([], lm_scores().take(np.arange(0)), SETTINGS, store)
    assert supervision.counts(kept, none, SETTINGS)["nearly_uniform"] == 2
    assert "there is nothing to learn" not in caplog.text
    settings = dataclasses.replace(SETTINGS, lm_temperature=1000.0)
    assert supervision.counts(kept, none, settings)["nearly_uniform"] == 3
    assert "nearly uniform for all 3 questions" in caplog.text
    assert "lm_temperature=1000" in caplog.text


def test_nothing_to_learn_from_is_refused(found, store):
    none = supervision.supervise(
        found[2:4], lm_scores().take(np.arange(2, 4)), SETTINGS, store
    )
    with pytest.raises(ConfigError, match="no question is left.*'with one chunk': 2"):
        supervision.counts(none, none, SETTINGS)
