"""What the report shows of a question, on a chunk store of three."""

import numpy as np
import pytest

from radit_jax.config import Config
from radit_jax.corpus import store
from radit_jax.evaluation import shown
from radit_jax.types import Chunk


@pytest.fixture
def chunks(tmp_path):
    store.write_chunks(
        tmp_path, [Chunk(i, f"d{i}", f"Text {i}.", "Title") for i in range(3)]
    )
    return store.ChunkStore(tmp_path)


def record(chunk_ids, log_p_r, answers, gold):
    return {
        "question": "Who?",
        "answers": ["Ada"],
        "positives": ["d1"],
        "chunk_ids": chunk_ids,
        "log_p_r": np.log(log_p_r).tolist(),
        "chunk_answers": answers,
        "gold_log_likelihood": gold,
        "answer": answers[0],
        "log_probability": -1.0,
    }


def test_passages_carry_both_distributions_and_every_answer(chunks):
    config = Config()
    config.retriever_training.lm_temperature = 0.5
    base = record([2, 1], [0.75, 0.25], ["Bob", "Ada"], [-2.0, -1.0])
    tuned = record([1, 0], [0.9, 0.1], ["Ada", "Eve"], [-1.0, -3.0])
    lines = {"base": {"base": [base]}, "ra_it": {"tuned": [tuned]}}
    found = {p["document_id"]: p for p in shown._passages(config, lines, 0, chunks)}
    assert list(found) == ["d2", "d1", "d0"]
    assert [p["is_positive"] for p in found.values()] == [False, True, False]
    assert found["d2"]["p_r_base"] == pytest.approx(0.75)
    assert found["d2"]["p_r_tuned"] is None
    assert found["d1"]["p_r_tuned"] == pytest.approx(0.9)
    # softmax((-2, -1) / 0.5) = (1, e²) / (1 + e²)
    assert found["d1"]["p_lsr"] == pytest.approx(np.e**2 / (1 + np.e**2), rel=1e-5)
    assert found["d0"]["p_lsr"] is None
    assert found["d1"]["answers"] == {"base": "Ada", "ra_it": "Ada"}
    assert found["d0"]["answers"] == {"ra_it": "Eve"}
