import numpy as np
import pytest

from radit_jax.inference.scorer import Scorer
from radit_jax.training.mesh import make_mesh

from .reference import random_texts
from .reference import score as reference_score

PROMPTS = random_texts(1, 7, 1, 40)
OUTPUTS = random_texts(2, 7, 1, 11)


@pytest.fixture(scope="module")
def scorer(decoder):
    return Scorer(decoder)


def test_equals_full_logits(decoder, scorer):
    scores = scorer.score(PROMPTS, OUTPUTS, batch_size=3)
    for prompt, output, score in zip(PROMPTS, OUTPUTS, scores, strict=True):
        assert score.dtype == np.float32
        expected = reference_score(decoder, prompt, output)
        np.testing.assert_allclose(score, expected, atol=1e-5)


def test_outputs_are_told_apart(scorer):
    # Guards the test above: a constant scorer, or one shifted by a token, would not.
    first, second = scorer.score([[9, 8]] * 2, [[7, 11], [7, 12]], batch_size=2)
    assert first[0] == second[0]
    assert abs(first[1] - second[1]) > 1e-2


def test_batch_does_not_matter(scorer):
    together = scorer.score(PROMPTS, OUTPUTS, batch_size=8)
    alone = [
        scorer.score([p], [o], batch_size=3)[0]
        for p, o in zip(PROMPTS, OUTPUTS, strict=True)
    ]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_few_shapes_are_compiled(decoder):
    scorer = Scorer(decoder)
    scorer.score(PROMPTS, OUTPUTS, batch_size=2)
    assert scorer.num_traces <= 4  # lengths 32 and 64 with outputs of 8 and 16
    before = scorer.num_traces
    scorer.score(PROMPTS[::-1], OUTPUTS[::-1], batch_size=2)
    assert scorer.num_traces == before


@pytest.mark.parametrize(("fsdp", "tensor"), [(1, 1), (2, 2)])
def test_eight_devices_agree_with_one(decoder, scorer, fsdp, tensor):
    meshed = Scorer(decoder, make_mesh(fsdp=fsdp, tensor=tensor))
    scores = meshed.score(PROMPTS, OUTPUTS, batch_size=8)
    for one, other in zip(
        scores, scorer.score(PROMPTS, OUTPUTS, batch_size=8), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_nothing_to_score(scorer):
    assert scorer.score([], [], batch_size=4) == []


def test_counts_differ(scorer):
    with pytest.raises(ValueError, match="2 prompts but 1 outputs; give one output"):
        scorer.score([[1], [2]], [[3]], batch_size=2)


@pytest.mark.parametrize(("prompt", "output"), [([], [3]), ([3], [])])
def test_empty(scorer, prompt, output):
    with pytest.raises(ValueError, match="row 1 has .* both need at least one"):
        scorer.score([[1], prompt], [[3], output], batch_size=2)


def test_too_long(scorer):
    with pytest.raises(ValueError, match="row 0 takes 161 tokens, but .* 160 pos"):
        scorer.score([[7] * 150], [[7] * 11], batch_size=2)
