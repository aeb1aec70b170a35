"""Views of the LM's scores, against scores that are laid out by hand."""

import numpy as np
import pytest
from etils import epath
from safetensors import numpy as safetensors

from radit_jax.retrieval import lm_scores

# Two shards. Questions 0 and 2 have two tokens, 1 has one; 1 has no third chunk, 3 was
# left out.
SHARDS = [
    ([[-1.0, -2.0], [-3.0, -5.0], [-0.5, -0.25]], [[2, 2, 2], [1, 1, 0]], [-7.0, -8.0]),
    ([[-4.0, -6.0], [-1.5, -0.5], [-9.0, -1.0]], [[2, 2, 2], [0, 0, 0]], []),
]


@pytest.fixture
def files(tmp_path):
    paths = []
    for i, (tokens, num_tokens, rest) in enumerate(SHARDS):
        flat = [x for chunk in tokens for x in chunk] + rest
        path = epath.Path(tmp_path / f"train-{i}.safetensors")
        arrays = {
            "token_log_likelihood": np.array(flat, np.float32),
            "num_tokens": np.array(num_tokens, np.int32),
        }
        path.write_bytes(safetensors.save(arrays))
        paths.append(path)
    return paths


@pytest.mark.parametrize(
    ("form", "first", "second"),
    [
        ("mean_log_likelihood", [-1.5, -4.0, -0.375], [-7.0, -8.0, 0.0]),
        ("log_likelihood", [-3.0, -8.0, -0.75], [-7.0, -8.0, 0.0]),
        ("likelihood", np.exp([-3.0, -8.0, -0.75]), [*np.exp([-7.0, -8.0]), 0.0]),
    ],
)
def test_values_of_each_form(files, form, first, second):
    scores = lm_scores.read(files, 3, form, keeps_tokens=False)
    np.testing.assert_allclose(scores.values[0], first, rtol=1e-6)
    np.testing.assert_allclose(scores.values[1], second, rtol=1e-6)
    assert scores.mask.tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert not scores.tokens.size


def test_tokens_of_some_questions(files):
    scores = lm_scores.read(files, 3, "likelihood", keeps_tokens=True)
    tokens, mask = scores.padded_tokens(np.array([2, 1]))
    assert tokens.shape == (2, 3, 8)
    assert mask[:, :3].tolist() == [[True, True, False], [True, False, False]]
    assert not mask[:, 3:].any()
    assert tokens[0, :, :2].tolist() == [[-4.0, -6.0], [-1.5, -0.5], [-9.0, -1.0]]
    assert tokens[1, :, 0].tolist() == [-7.0, -8.0, 0.0]
    assert not tokens[:, :, 2:].any()


def test_shuffled_scores_are_those_of_another_chunk(files):
    scores = lm_scores.read(files, 3, "log_likelihood", keeps_tokens=True)
    rows = np.array([0, 1, 2, 3] * 50)
    shuffled = scores.take(rows).shuffled(5)
    sorted_values = np.sort(scores.values[rows])
    np.testing.assert_array_equal(np.sort(shuffled.values), sorted_values)
    np.testing.assert_array_equal(shuffled.mask, scores.mask[rows])
    # The tokens go along with their chunk's value.
    tokens, _ = shuffled.padded_tokens(np.arange(len(rows)))
    np.testing.assert_allclose(tokens.sum(axis=2), shuffled.values)
    orders = {tuple(row) for row in shuffled.values[::4].tolist()}
    assert len(orders) == 6  # of three chunks
    assert {tuple(row) for row in shuffled.values[1::4].tolist()} == {
        (-7.0, -8.0, 0.0),
        (-8.0, -7.0, 0.0),
    }
    again = scores.take(rows).shuffled(5)
    np.testing.assert_array_equal(again.values, shuffled.values)
    assert (scores.take(rows).shuffled(6).values != shuffled.values).any()


def test_no_files_are_no_questions():
    scores = lm_scores.read([], 3, "likelihood", keeps_tokens=True)
    assert len(scores) == 0
    assert scores.values.shape == (0, 3)
