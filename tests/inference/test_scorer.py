import jax
import numpy as np
import pytest
from flax import nnx

from radit_jax.inference.scorer import Scorer
from radit_jax.models import compute_weights
from radit_jax.training.mesh import make_mesh

from .reference import make_decoder, random_texts
from .reference import score as reference_score

PROMPTS = random_texts(1, 7, 1, 40)
OUTPUTS = random_texts(2, 7, 1, 11)


@pytest.fixture(scope="module")
def scorer(decoder):
    return Scorer(decoder)


def test_equals_full_logits(decoder, scorer):
    scores = scorer.score(PROMPTS, OUTPUTS, batch_tokens=96)
    for prompt, output, score in zip(PROMPTS, OUTPUTS, scores, strict=True):
        assert score.dtype == np.float32
        expected = reference_score(decoder, prompt, output)
        np.testing.assert_allclose(score, expected, atol=1e-5)


def test_outputs_are_told_apart(scorer):
    # Guards the test above: a constant scorer, or one shifted by a token, would not.
    first, second = scorer.score([[9, 8]] * 2, [[7, 11], [7, 12]], batch_tokens=64)
    assert first[0] == second[0]
    assert abs(first[1] - second[1]) > 1e-2


def test_batch_does_not_matter(scorer):
    together = scorer.score(PROMPTS, OUTPUTS, batch_tokens=512)
    alone = [
        scorer.score([p], [o], batch_tokens=96)[0]
        for p, o in zip(PROMPTS, OUTPUTS, strict=True)
    ]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_rounded_weights_give_the_same_bits_in_less_memory(bias):
    decoder = make_decoder(
        compute_dtype="bfloat16", attention_bias=bias, tied_head=bias
    )
    leaves = jax.tree.leaves(nnx.state(decoder))
    expected = Scorer(decoder).score(PROMPTS[:2], OUTPUTS[:2], batch_tokens=512)
    compute_weights.round_weights(decoder)
    found = Scorer(decoder).score(PROMPTS[:2], OUTPUTS[:2], batch_tokens=512)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    rounded = jax.tree.leaves(nnx.state(decoder))
    num_layer_bytes = sum(x.nbytes for x in leaves if x.ndim > 2 and x.shape[0] == 2)
    num_saved = sum(x.nbytes for x in leaves) - sum(x.nbytes for x in rounded)
    assert 0 < num_saved <= num_layer_bytes // 2
    assert num_saved > 0.9 * num_layer_bytes // 2


def test_few_shapes_are_compiled(decoder):
    scorer = Scorer(decoder)
    scorer.score(PROMPTS, OUTPUTS, batch_tokens=64)
    assert scorer.num_traces <= 2  # rows of 64 tokens, one or several
    before = scorer.num_traces
    scorer.score(PROMPTS[::-1], OUTPUTS[::-1], batch_tokens=64)
    assert scorer.num_traces == before


# Chunks of 70, 33, 16 and 5 tokens; the last is too short to be shared.
CHUNKS = [random_texts(10 + n, 1, n, n + 1)[0] for n in (70, 33, 16, 5)]
OWNERS = [0, 1, 2, 3, 0, 1, 0, 3, 2, 0, 0, 1, 0, 0, 1, 0, 2, 0, 0, 3]
QUESTIONS = random_texts(3, 20, 1, 24)
ANSWERS = random_texts(4, 20, 1, 11)
CONTEXTS = [CHUNKS[c] + q for c, q in zip(OWNERS, QUESTIONS, strict=True)]
NUM_SHARED = [len(CHUNKS[c]) for c in OWNERS]


@pytest.mark.parametrize("batch_tokens", [64, 256, 4096])
def test_shared_prefixes_change_nothing(decoder, scorer, batch_tokens):
    shared = scorer.score(CONTEXTS, ANSWERS, batch_tokens, NUM_SHARED)
    assert scorer.work.computed_tokens < scorer.work.tokens
    alone = scorer.score(CONTEXTS, ANSWERS, batch_tokens)
    assert scorer.work.computed_tokens == scorer.work.tokens
    for i, (one, other) in enumerate(zip(shared, alone, strict=True)):
        np.testing.assert_allclose(one, other, atol=1e-5)
        expected = reference_score(decoder, CONTEXTS[i], ANSWERS[i])
        np.testing.assert_allclose(one, expected, atol=1e-5)


@pytest.mark.parametrize("window", [None, 7])
def test_accelerators_attend_in_rows_to_the_same(monkeypatch, window):
    decoder = make_decoder(sliding_window=window)
    args = CONTEXTS, ANSWERS, 256, NUM_SHARED
    expected = Scorer(decoder).score(*args)
    ways = []

    def otherwise(*arrays, cpu, default):
        ways.append(cpu)
        return default(*arrays)

    monkeypatch.setattr(jax.lax, "platform_dependent", otherwise)
    found = Scorer(decoder).score(*args)
    assert ways
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_prefix_is_shared_to_its_last_token(decoder, scorer):
    """Guards the test above: a wrong chunk, or one token less of it, shows."""
    prompts = [CHUNKS[0] + [9], CHUNKS[0] + [9], [*CHUNKS[0][:-1], 6, 9]]
    scores = scorer.score(prompts, [[7]] * 3, 512, [70] * 3)
    assert scores[0] == scores[1]
    assert abs(scores[0][0] - scores[2][0]) > 1e-4
    assert scorer.work.prefixes == 1


def test_a_prompt_may_be_all_prefix(decoder, scorer):
    prompts, outputs = [CHUNKS[1]] * 2, [[7, 8], [9]]
    scores = scorer.score(prompts, outputs, 512, [33] * 2)
    for prompt, output, score in zip(prompts, outputs, scores, strict=True):
        expected = reference_score(decoder, prompt, output)
        np.testing.assert_allclose(score, expected, atol=1e-5)


def test_sliding_window(decoder):
    """A window that ends inside the prefix, and inside the text."""
    windowed = make_decoder(sliding_window=12)
    scores = Scorer(windowed).score(CONTEXTS, ANSWERS, 256, NUM_SHARED)
    for prompt, output, score in zip(CONTEXTS, ANSWERS, scores, strict=True):
        expected = reference_score(windowed, prompt, output)
        np.testing.assert_allclose(score, expected, atol=1e-5)


def test_work_is_counted(scorer):
    """Chunk 0 once, its 9 questions by themselves; a text's last token is not fed."""
    scorer.score(CONTEXTS, ANSWERS, 4096, NUM_SHARED)
    fed = [len(p) + len(a) - 1 for p, a in zip(CONTEXTS, ANSWERS, strict=True)]
    counts = [OWNERS.count(c) for c in range(3)]
    saved = sum((n - 1) * len(CHUNKS[c]) for c, n in enumerate(counts))
    assert scorer.work.texts == 20
    assert scorer.work.prefixes == 3
    assert scorer.work.tokens == sum(fed)
    assert scorer.work.computed_tokens == sum(fed) - saved
    assert scorer.work.padded_tokens >= scorer.work.computed_tokens


@pytest.mark.parametrize(("fsdp", "tensor"), [(1, 1), (2, 2)])
def test_eight_devices_agree_with_one(decoder, scorer, fsdp, tensor):
    meshed = Scorer(decoder, make_mesh(fsdp=fsdp, tensor=tensor))
    scores = meshed.score(PROMPTS, OUTPUTS, batch_tokens=512)
    for one, other in zip(
        scores, scorer.score(PROMPTS, OUTPUTS, batch_tokens=512), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
    shared = meshed.score(CONTEXTS, ANSWERS, 128, NUM_SHARED)
    for i, score in enumerate(shared):
        expected = reference_score(decoder, CONTEXTS[i], ANSWERS[i])
        np.testing.assert_allclose(score, expected, atol=1e-5)


def test_nothing_to_score(scorer):
    assert scorer.score([], [], batch_tokens=64) == []


def test_counts_differ(scorer):
    with pytest.raises(ValueError, match="2 prompts but 1 outputs and 2 shared"):
        scorer.score([[1], [2]], [[3]], batch_tokens=64)


@pytest.mark.parametrize(("prompt", "output"), [([], [3]), ([3], [])])
def test_empty(scorer, prompt, output):
    with pytest.raises(ValueError, match="row 1 has .* both need at least one"):
        scorer.score([[1], prompt], [[3], output], batch_tokens=64)


def test_too_long(scorer):
    with pytest.raises(ValueError, match="row 0 takes 161 tokens, but .* 160 pos"):
        scorer.score([[7] * 150], [[7] * 11], batch_tokens=64)
