import pytest

from radit_jax.text import demonstrations, templates
from radit_jax.text.demonstrations import fit_few_shot
from radit_jax.text.templates import Prompt, PromptError

PROMPT = Prompt(
    id="p",
    bos_ids=(1,),
    background_ids=(20, 21, 22, 9),
    background_end_ids=(9,),
    question_ids=(30, 31, 32),
    answer_ids=(40, 2),
)
SHOWN = [(50, 51, 52, 53), (60, 61, 62)]


def fitted(max_tokens):
    found = fit_few_shot(PROMPT, SHOWN, max_tokens, reserve=2)
    return [*found.prefix_ids], [*found.prompt_ids], found.cut, found.num_dropped


def test_all_fits():
    prefix, prompt, cut, num_dropped = fitted(17)
    assert prefix == [1, 50, 51, 52, 53, 60, 61, 62]
    assert prompt == [20, 21, 22, 9, 30, 31, 32]
    assert (cut.background, num_dropped) == (False, 0)


def test_the_background_goes_first():
    prefix, prompt, cut, num_dropped = fitted(15)
    assert prefix == [1, 50, 51, 52, 53, 60, 61, 62]
    assert prompt == [20, 9, 30, 31, 32]
    assert (cut.background, num_dropped) == (True, 0)
    assert fitted(13)[1] == [30, 31, 32]


def test_then_whole_demonstrations_from_the_farthest():
    prefix, prompt, cut, num_dropped = fitted(12)
    assert prefix == [1, 60, 61, 62]
    assert prompt == [20, 21, 9, 30, 31, 32]  # the room that it leaves is used
    assert (cut.background, num_dropped) == (True, 1)


def test_without_any_left_the_prompt_has_bos():
    prefix, prompt, _, num_dropped = fitted(8)
    assert (prefix, prompt, num_dropped) == ([], [1, 20, 9, 30, 31, 32], 2)


def test_the_question_is_never_cut():
    assert fitted(6)[1] == [1, 30, 31, 32]
    with pytest.raises(PromptError, match="needs 4 tokens for its question and 2"):
        fitted(5)


def test_none_are_shown():
    found = fit_few_shot(PROMPT, [], 100, reserve=2)
    expected, _ = templates.prompt_ids(PROMPT, 100, 2)
    assert (found.prefix_ids, [*found.prompt_ids]) == ((), expected)


def test_a_demonstration_is_a_solved_question(byte_tokenizer):
    ids = demonstrations.encode_demonstration(byte_tokenizer, "who ?", "Pell")
    assert byte_tokenizer.decode(ids) == "Q: who ?\nA: Pell\n\n"
