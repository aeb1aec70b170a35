import jax
import jax.numpy as jnp
import numpy as np

from radit_jax.inference.answer_rows import AnswerRows
from radit_jax.inference.streams import Layout, stream_length

ROWS = [[1, 2, 3], [4, 5], [], [6, 7, 8, 9]]


def test_rows_follow_one_another_in_their_stream():
    layout = Layout([len(row) for row in ROWS], num_streams=2)
    streams = layout.streams(ROWS)
    assert streams.shape == (2, 64)
    assert streams[:, :6].tolist() == [[1, 2, 3, 4, 5, 0], [6, 7, 8, 9, 0, 0]]
    assert layout.starts.tolist() == [0, 3, 0, 0]
    assert layout.by_stream(ROWS) == [[1, 2, 3, 4, 5], [6, 7, 8, 9]]


def test_to_rows_and_back():
    layout = Layout([len(row) for row in ROWS], num_streams=2)
    rows = jax.tree.map(jnp.asarray, layout.rows)
    padded = rows.to_rows(jnp.asarray(layout.streams(ROWS)))
    assert padded.shape == (4, 64)
    for row, tokens in zip(np.asarray(padded), ROWS, strict=True):
        assert row[: len(tokens)].tolist() == tokens
    back = np.asarray(rows.to_streams(padded))
    for stream, tokens in zip(back, layout.by_stream(ROWS), strict=True):
        assert stream[: len(tokens)].tolist() == tokens


def test_few_lengths_with_little_padding():
    lengths = [stream_length(num) for num in range(1, 20_000)]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) < 70
    assert max(n / num for num, n in enumerate(lengths, 1) if num > 512) < 1.126
    assert (stream_length(5000), stream_length(130)) == (5120, 192)


def test_answers_and_what_predicts_them():
    rows = AnswerRows([[[7, 8, 2], [3, 2], [7, 9, 2]], []], 2, 1)
    arrays = rows.arrays
    assert arrays["tokens"][0, :5].tolist() == [3, 7, 8, 9, 0]
    assert arrays["offsets"][0, :4].tolist() == [0, 0, 1, 1]
    assert arrays["ends"][:, :5].tolist() == [[1, 4, 3, 4, 0], [0] * 5]
    assert arrays["sources"][0, :7].tolist() == [0, 2, 0, 3, 4, 3, 5]
    assert arrays["targets"][0, :7].tolist() == [3, 2, 7, 8, 2, 9, 2]
    first, second = rows.sort_out(np.arange(128, dtype=np.float32)[None])
    assert [row.tolist() for row in first] == [[2, 3, 4], [0, 1], [2, 5, 6]]
    assert second == []


def test_an_answer_that_begins_another_and_one_that_comes_twice():
    rows = AnswerRows([[[7, 8], [7], [7, 8], [7, 8, 9]]], 1, 1)
    arrays = rows.arrays
    assert arrays["tokens"][0, :3].tolist() == [7, 8, 0]
    assert arrays["ends"][0, :2].tolist() == [2, 2]
    assert arrays["targets"][0, :4].tolist() == [7, 8, 9, 0]
    (found,) = rows.sort_out(np.arange(128, dtype=np.float32)[None])
    assert [row.tolist() for row in found] == [[0, 1], [0], [0, 1], [0, 1, 2]]


def test_each_streams_answers_are_its_own():
    answers = [[[7, 2]], [[8, 2], [8, 9]], [[6]], []]
    rows = AnswerRows(answers, 4, 2)
    assert rows.arrays["sources"][:, :5].tolist() == [[0, 2, 1, 3, 3], [0] * 5]
    scores = np.arange(256, dtype=np.float32).reshape(2, 128)
    found = [[row.tolist() for row in some] for some in rows.sort_out(scores)]
    assert found == [[[0, 1]], [[2, 3], [2, 4]], [[128]], []]
