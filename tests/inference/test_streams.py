import jax
import jax.numpy as jnp
import numpy as np

from radit_jax.inference import answer_rows
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
    layout, arrays = answer_rows.lay_out([[[7, 8, 2], [9, 2]], []], 2, 1)
    assert arrays["tokens"][0, :4].tolist() == [7, 8, 9, 0]
    assert arrays["offsets"][0, :3].tolist() == [0, 1, 0]
    assert arrays["segment_ids"][:, :4].tolist() == [[1, 1, 2, 0], [0] * 4]
    assert arrays["sources"][0, :5].tolist() == [0, 2, 3, 0, 4]
    assert arrays["targets"][0, :5].tolist() == [7, 8, 2, 9, 2]
    scores = np.arange(128, dtype=np.float32)[None]
    first, second = answer_rows.sort_out(scores, layout, [[[7, 8, 2], [9, 2]], []])
    assert [row.tolist() for row in first] == [[0, 1, 2], [3, 4]]
    assert second == []
