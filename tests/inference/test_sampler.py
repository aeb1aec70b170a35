import numpy as np
import pytest

from radit_jax.inference.answer_rows import AnswerRows
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.scorer import Scorer
from radit_jax.inference.stops import Stops
from radit_jax.training.mesh import make_mesh

from .reference import (
    EOS,
    NEWLINE,
    VOCAB,
    full_log_probs,
    make_decoder,
    random_texts,
)
from .reference import (
    score as reference_score,
)
from .tokenizer import DECODING, TOKENIZER, decoding

PROMPTS = random_texts(3, 5, 1, 60)
ANSWERS = [
    [[*answer, EOS] for answer in random_texts(10 + i, num, 0, 9)]
    for i, num in enumerate((3, 0, 1, 5, 2))
]


def naive_greedy(decoder, prompt, num_tokens, stops):
    tokens = list(prompt)
    for _ in range(num_tokens):
        tokens.append(int(full_log_probs(decoder, tokens)[-1].argmax()))
        if tokens[-1] in stops:
            break
    return tokens[len(prompt) :]


def greedy(sampler, prompts, num_rows=0, how=DECODING):
    tokens, num_tokens = sampler.decode(sampler.prefill(prompts, num_rows), how)
    return [row[:n].tolist() for row, n in zip(tokens, num_tokens, strict=True)]


def test_greedy_equals_full_forwards(decoder, sampler):
    for answer, prompt in zip(greedy(sampler, PROMPTS, 6), PROMPTS, strict=True):
        expected = naive_greedy(decoder, prompt, 7, (EOS, NEWLINE))
        assert answer == [token for token in expected if token != EOS]


def test_answers_differ(sampler):
    # Guards the test above: rows must not all repeat one token.
    answers = greedy(sampler, PROMPTS, 6)
    assert len({tuple(answer) for answer in answers}) == 5
    assert max(len(set(answer)) for answer in answers) > 2


def test_batch_and_padding_do_not_matter(sampler):
    together = greedy(sampler, PROMPTS, 6)
    assert greedy(sampler, PROMPTS[::-1], 6) == together[::-1]
    with_longer = greedy(sampler, [*PROMPTS, [9] * 100], 6)  # 128 slots, not 64
    assert with_longer[:5] == together


def test_stop_token_ends_and_counts(decoder, sampler):
    free = naive_greedy(decoder, PROMPTS[0], 7, (EOS,))
    stop = next(t for i, t in enumerate(free) if i >= 2 and t not in free[:i])
    end = free.index(stop) + 1
    tokens, num_tokens = sampler.decode(sampler.prefill(PROMPTS), decoding(7, stop))
    assert num_tokens[0] == end
    assert tokens[0].tolist() == free[:end] + [EOS] * (7 - end)


def test_eos_ends_and_does_not_count(decoder):
    free = naive_greedy(decoder, PROMPTS[0], 7, ())
    eos = next(t for i, t in enumerate(free) if i >= 2 and t not in free[:i])
    sampler = Sampler(decoder, eos_id=eos)
    tokens, num_tokens = sampler.decode(sampler.prefill(PROMPTS[:1], 3), decoding())
    assert num_tokens.tolist() == [free.index(eos)]
    assert tokens[0].tolist() == free[: free.index(eos)] + [eos] * (7 - free.index(eos))


def test_one_new_token(decoder, sampler):
    one = decoding(1, NEWLINE)
    tokens, num_tokens = sampler.decode(sampler.prefill(PROMPTS), one)
    expected = [naive_greedy(decoder, prompt, 1, ()) for prompt in PROMPTS]
    assert tokens.tolist() == expected
    assert num_tokens.tolist() == [1] * 5


def test_rescore_equals_scorer(decoder, sampler):
    prefilled = sampler.prefill(PROMPTS, 6)
    sampler.decode(prefilled, DECODING)
    scores = sampler.rescore(prefilled, ANSWERS)
    scorer = Scorer(decoder)
    for prompt, answers, row in zip(PROMPTS, ANSWERS, scores, strict=True):
        assert row.shape == (len(answers),)
        outputs = scorer.score([prompt] * len(answers), answers, batch_tokens=256)
        expected = np.array([output.sum() for output in outputs])
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)
        for answer, score in zip(answers, row, strict=True):
            expected = reference_score(decoder, prompt, answer).sum()
            np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-5)


def test_answers_do_not_see_each_other(sampler):
    prefilled = sampler.prefill(PROMPTS[:1])
    alone = [sampler.rescore(prefilled, [[a]])[0][0] for a in ANSWERS[3]]
    (together,) = sampler.rescore(prefilled, [ANSWERS[3]])
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_a_beginning_that_answers_share_is_read_once(sampler):
    answers = [[7, 8, 9, EOS], [7, 8, 4, EOS], [7, EOS], [5, EOS], [7, 8, 9, 4, EOS]]
    prefilled = sampler.prefill(PROMPTS[:2])
    alone = [sampler.rescore(prefilled, [[a], []])[0][0] for a in answers]
    together = sampler.rescore_tokens(prefilled, [answers, answers[:1]])
    sums = [tokens.sum() for tokens in together[0]]
    np.testing.assert_allclose(sums, alone, rtol=1e-5)
    assert together[0][0][:2].tolist() == together[0][4][:2].tolist()
    assert len(AnswerRows([answers], 1, 1).arrays["tokens"][0].nonzero()[0]) == 6


def test_answers_longer_than_the_decoding_slots(decoder, sampler):
    answer = [*random_texts(4, 1, 70, 71)[0], EOS]
    (score,) = sampler.rescore(sampler.prefill([[8, 9]]), [[answer, [7, EOS]]])
    expected = [reference_score(decoder, [8, 9], a).sum() for a in (answer, [7, EOS])]
    np.testing.assert_allclose(score, expected, rtol=1e-5)


def test_a_smaller_last_batch_compiles_nothing(decoder):
    sampler = Sampler(decoder, eos_id=EOS)
    for num, length in ((5, 30), (4, 37), (3, 45)):
        prefilled = sampler.prefill([[9] * length] * num, 5)
        sampler.decode(prefilled, decoding(3))
        sampler.rescore(prefilled, [[[7, 8, EOS], [EOS]]] * num)
    assert sampler.num_traces == 4  # prefill, begin, advance, rescore


@pytest.mark.parametrize(("fsdp", "tensor"), [(1, 1), (2, 2)])
def test_eight_devices_agree_with_one(decoder, sampler, fsdp, tensor):
    meshed = Sampler(decoder, eos_id=EOS, mesh=make_mesh(fsdp=fsdp, tensor=tensor))
    assert greedy(meshed, PROMPTS, 8) == greedy(sampler, PROMPTS, 6)
    prefilled = meshed.prefill(PROMPTS, 8, DEMONSTRATIONS)
    tokens, _ = meshed.decode(prefilled, DECODING)
    prefilled = sampler.prefill(PROMPTS, 6, DEMONSTRATIONS)
    expected, _ = sampler.decode(prefilled, DECODING)
    np.testing.assert_array_equal(tokens, expected)
    prefilled = meshed.prefill(PROMPTS, 8)
    assert not prefilled.prompts.lengths.sharding.is_fully_replicated
    scores = meshed.rescore(prefilled, ANSWERS)
    expected = sampler.rescore(sampler.prefill(PROMPTS, 6), ANSWERS)
    for one, other in zip(scores, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


DEMONSTRATIONS = random_texts(8, 1, 25, 40)[0]


def test_a_shared_prefix_is_as_good_as_one_in_each_prompt(decoder, sampler):
    whole = [[*DEMONSTRATIONS, *prompt] for prompt in PROMPTS]
    expected = sampler.rescore(sampler.prefill(whole, 6), ANSWERS)
    prefilled = sampler.prefill(PROMPTS, 6, DEMONSTRATIONS)
    assert prefilled.prompts.prefix.cache.keys.shape[1] == 1
    scores = sampler.rescore(prefilled, ANSWERS)
    for one, other in zip(scores, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    tokens, num_tokens = sampler.decode(prefilled, DECODING)
    shared = [row[:n].tolist() for row, n in zip(tokens, num_tokens, strict=True)]
    assert shared == greedy(sampler, whole, 6)
    assert shared != greedy(sampler, PROMPTS, 6)  # it is seen at all
    for answer, prompt in zip(shared, whole, strict=True):
        expected = naive_greedy(decoder, prompt, 7, (EOS, NEWLINE))
        assert answer == [token for token in expected if token != EOS]


def test_a_prefix_is_read_once(decoder, monkeypatch):
    sampler = Sampler(decoder, eos_id=EOS)
    read, run = [], sampler._read
    monkeypatch.setattr(
        sampler, "_read", lambda rows, *rest: read.append(len(rows)) or run(rows, *rest)
    )
    for prompts in (PROMPTS[:2], PROMPTS[2:4]):
        sampler.prefill(prompts, 2, DEMONSTRATIONS)
    assert read == [1, 2, 2]


def test_no_more_prefixes_than_are_kept(sampler):
    for token in range(20):
        sampler.prefill([[9]], 1, [token + 6])
    assert len(sampler._prefixes) == 8


def test_finished_rows_are_retired(decoder, sampler, monkeypatch):
    """Of 40 rows all but three end at once; the three go on in 32, 16, then 8."""
    prompts = random_texts(2, 40, 1, 12)
    free = greedy(sampler, prompts, how=decoding(12))
    firsts = [answer[0] for answer in free]
    going_on = {firsts[i] for i in (0, 7, 21)}
    stop = ~np.isin(np.arange(VOCAB), list(going_on))
    stop[[t for a in free for t in a if t in going_on]] = False
    stop = np.flatnonzero(stop).tolist()
    sizes, select = [], sampler._select
    monkeypatch.setattr(
        sampler, "_select", lambda s, rows: sizes.append(len(rows)) or select(s, rows)
    )
    expected = [naive_greedy(decoder, p, 12, {EOS, *stop}) for p in prompts]
    found = greedy(sampler, prompts, how=decoding(12, stop))
    assert found == [[t for t in answer if t != EOS] for answer in expected]
    assert sizes and sizes == sorted(sizes, reverse=True) and sizes[-1] <= 16
    assert max(map(len, found)) > 2


def test_a_sliding_window(decoder):
    windowed = make_decoder(sliding_window=9)
    sampler = Sampler(windowed, eos_id=EOS)
    whole = [[*DEMONSTRATIONS, *prompt] for prompt in PROMPTS]
    prefilled = sampler.prefill(PROMPTS, 6, DEMONSTRATIONS)
    tokens, _ = sampler.decode(prefilled, decoding())
    expected = [naive_greedy(windowed, prompt, 7, (EOS,)) for prompt in whole]
    for row, answer in zip(tokens.tolist(), expected, strict=True):
        assert row[: len(answer)] == answer
    assert expected != [naive_greedy(decoder, prompt, 7, (EOS,)) for prompt in whole]


def test_no_answers(sampler):
    scores = sampler.rescore(sampler.prefill(PROMPTS[:2]), [[], []])
    assert [score.shape for score in scores] == [(0,), (0,)]


def test_stops_of_another_model(sampler):
    others = Decoding(3, Stops(TOKENIZER, VOCAB - 1))
    with pytest.raises(ValueError, match="has 63 entries, but the model has 64 tok"):
        sampler.decode(sampler.prefill(PROMPTS), others)


def test_no_room_for_an_answer(sampler):
    prefilled = sampler.prefill([[1], [1] * 154])
    message = "prompt 1 with its answer takes 161 tokens, but .* 160 pos"
    with pytest.raises(ValueError, match=message):
        sampler.decode(prefilled, DECODING)


@pytest.mark.parametrize(
    ("prompts", "num_rows", "message"),
    [
        ([], 2, "0 prompts for a batch of 2 rows"),
        ([[1]] * 3, 2, "3 prompts for a batch of 2 rows"),
        ([[1], []], 2, "prompt 1 is empty; start prompts with bos"),
        ([[1] * 161], 1, "prompt 0 takes 161 tokens, but the model has 160 pos"),
    ],
)
def test_bad_prompts(sampler, prompts, num_rows, message):
    with pytest.raises(ValueError, match=message):
        sampler.prefill(prompts, num_rows)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([[[3]]], "answers for 1 rows, but 2 prompts are prefilled"),
        ([[[3]], [[3], []]], "row 1 has an empty answer; end answers with eos"),
        ([[[3] * 159], []], "prompt 0 with an answer takes 161 tokens"),
    ],
)
def test_bad_answers(sampler, answers, message):
    prefilled = sampler.prefill([[4, 5], [6]])
    with pytest.raises(ValueError, match=message):
        sampler.rescore(prefilled, answers)
