import numpy as np
import pytest

from radit_jax.corpus import store as store_lib
from radit_jax.evaluation import right_chunks
from radit_jax.types import Chunk, Instruction

TEXTS = ("The Nile.", "It is in Paris", "Parisian", "the U.S. army", "none", "paris!")


@pytest.fixture
def store(tmp_path):
    chunks = [Chunk(i, f"d{i // 2}", text) for i, text in enumerate(TEXTS)]
    store_lib.write_chunks(tmp_path, chunks)
    return store_lib.ChunkStore(tmp_path)


def ask(answers=("Paris",), positives=()):
    return Instruction("q", "where?", answers, positives)


def test_positives_judge_where_any_question_names_some():
    asked = [ask(), ask(positives=("d1",))]
    kept, judge, name = right_chunks.choose_judge(asked)
    assert kept == asked[1:]
    assert judge is right_chunks.is_of_positive
    assert name == "chunks of positives"


def test_answers_judge_where_no_question_names_positives():
    asked = [ask(), ask(answers=())]
    kept, judge, name = right_chunks.choose_judge(asked)
    assert kept == asked[:1]
    assert judge is right_chunks.holds_answer
    assert name == "chunks that contain an answer"


def test_an_answer_is_found_as_whole_tokens_normalised(store):
    asked = [ask(), ask(("US",))]
    right = [
        [i for i in range(6) if right_chunks.holds_answer(one, store[i])]
        for one in asked
    ]
    assert right == [[1, 5], [3]]


def test_reciprocal_ranks_and_recall_by_hand(store):
    asked = [ask(positives=("d1",)), ask(positives=("d0",)), ask(positives=("d9",))]
    right = right_chunks.RightChunks(asked, right_chunks.is_of_positive, store)
    ids = np.array([[5, 4, 3, 0, 1, 2], [1, 2, 3, 4, 5, 0], [0, 1, 2, 3, 4, 5]])
    scores = right.scores(ids, 3)
    np.testing.assert_allclose(scores["mrr"], [1 / 3, 1, 0])
    assert scores["recall@1"].tolist() == [0, 100, 0]
    assert scores["recall@5"].tolist() == [100, 100, 0]
    assert "recall@10" not in scores  # six were searched
    np.testing.assert_allclose(right.scores(ids, 2)["mrr"], [0, 1, 0])


def test_a_chunk_is_looked_up_once(store, monkeypatch):
    right = right_chunks.RightChunks([ask()], right_chunks.holds_answer, store)
    reads = []
    whole = store.get_many
    monkeypatch.setattr(
        store_lib.ChunkStore, "get_many", lambda _, ids: reads.append(ids) or whole(ids)
    )
    assert right.scores(np.array([[4, 5]]), 2)["mrr"] == 0.5
    assert right.scores(np.array([[5, 2]]), 2)["mrr"] == 1.0
    assert reads == [[4, 5], [2]]
