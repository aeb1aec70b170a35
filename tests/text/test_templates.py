"""The paper's template strings, the marker draw, and fitting a prompt to a limit."""

import collections
import dataclasses

import pytest
import tokenizers

from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer

BOS, EOS = 256, 257


@pytest.fixture(scope="module")
def tokenizer():
    """One id a byte, so that lengths can be counted by eye."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(alphabet)}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>"])
    return LMTokenizer(backend, BOS, EOS)


def prompt_of(tokenizer, **kwargs):
    arguments = {"passage": "abcdef", "answer": "Z"} | kwargs
    return templates.encode_prompt(tokenizer, "q1", "why?", **arguments)


@pytest.mark.parametrize("question_marker", ["Q: ", "Question: ", ""])
@pytest.mark.parametrize("answer_marker", ["A: ", "Answer: "])
def test_rendered_text_is_the_papers(tokenizer, question_marker, answer_marker):
    chunk, question, answer = "Paris: the capital.", "What is Paris?", "The capital"
    markers = templates.Markers(question_marker, "\n", answer_marker.rstrip())
    paper = (
        f"Background: {chunk}\n\n{question_marker}{question}\n{answer_marker}{answer}"
    )
    rendered = (
        templates.background_block(chunk)
        + templates.question_block(question, markers)
        + templates.answer_block(answer)
    )
    assert rendered == paper
    prompt = templates.encode_prompt(
        tokenizer, "q", question, passage=chunk, answer=answer, markers=markers
    )
    ids, truncated = templates.fit(prompt, 1000)
    assert tokenizer.decode(ids) == paper
    assert (ids[0], ids[-1], truncated) == (BOS, EOS, False)


def test_default_markers_are_the_evaluations(tokenizer):
    ids, _ = templates.fit(prompt_of(tokenizer), 1000)
    assert tokenizer.decode(ids) == "Background: abcdef\n\nQ: why?\nA: Z"


def test_draw_covers_every_choice_evenly():
    draws = collections.Counter(
        templates.draw_markers(f"id{i}", seed=3) for i in range(3000)
    )
    assert {draw.question for draw in draws} == {"Q: ", "Question: ", ""}
    assert {draw.end for draw in draws} == {"\n"}
    assert {draw.answer for draw in draws} == {"A:", "Answer:"}
    assert len(draws) == 6
    assert all(400 < count < 600 for count in draws.values())


def test_draw_depends_on_id_and_seed_alone():
    # Frozen: a change here would change every training set that was ever built.
    assert templates.draw_markers("nq-17", 0) == templates.Markers("", "\n", "Answer:")
    ids = [f"id{i}" for i in range(50)]
    draws = [templates.draw_markers(i, 0) for i in ids]
    assert draws == [templates.draw_markers(i, 0) for i in reversed(ids)][::-1]
    assert draws != [templates.draw_markers(i, 1) for i in ids]


def test_closed_book_has_no_background_block(tokenizer):
    prompt = prompt_of(tokenizer, passage=None)
    ids, truncated = templates.fit(prompt, 1000)
    assert tokenizer.decode(ids) == "Q: why?\nA: Z"
    assert not truncated


def test_prompt_ids_leave_out_the_answer(tokenizer):
    prompt = prompt_of(tokenizer, answer=None)
    ids, truncated = templates.prompt_ids(prompt, max_tokens=1000, reserve=16)
    assert tokenizer.decode(ids) == "Background: abcdef\n\nQ: why?\nA:"
    assert (ids[0], ids[-1]) == (BOS, tokenizer.encode(":")[0])
    assert not truncated
    assert prompt.num_target_tokens == 0


def test_target_tokens_are_the_answer_and_eos(tokenizer):
    prompt = prompt_of(tokenizer, answer="Zoë")  # " Zoë" has 5 bytes
    assert prompt.num_target_tokens == 6
    ids, _ = templates.fit(prompt, 1000)
    assert tokenizer.decode(ids[-6:]) == " Zoë"
    assert ids[-1] == EOS


# bos 1 + Background 20 ("Background: abcdef\n\n") + question 10 + answer 3 = 34 tokens.
@pytest.mark.parametrize(
    ("max_tokens", "background"),
    [
        (34, "Background: abcdef\n\n"),
        (33, "Background: abcde\n\n"),
        (30, "Background: ab\n\n"),
        (17, "B\n\n"),
        (16, ""),  # room for the blank line alone: nothing to say
        (14, ""),
    ],
)
def test_fit_cuts_only_the_background(tokenizer, max_tokens, background):
    prompt = prompt_of(tokenizer)
    ids, truncated = templates.fit(prompt, max_tokens)
    assert tokenizer.decode(ids) == f"{background}Q: why?\nA: Z"
    assert len(ids) <= max_tokens
    assert truncated == (max_tokens < 34)
    asked, cut = templates.prompt_ids(prompt, max_tokens, reserve=3)
    assert (asked, cut) == (ids[:-3], truncated)


def test_fit_refuses_to_cut_a_question(tokenizer):
    prompt = prompt_of(tokenizer)
    match = r"example 'q1' needs 11 .* and 3 .* limit of 13. Raise --config.lm.max_tok"
    with pytest.raises(templates.PromptError, match=match):
        templates.fit(prompt, 13)
    with pytest.raises(templates.PromptError, match="and 4 for its answer"):
        templates.prompt_ids(prompt, 14, reserve=4)


def test_a_merged_end_marker_survives_the_cut(tokenizer):
    # A vocabulary with ".\n\n" as one token, as Llama 3's: the cut removes that token.
    prompt = dataclasses.replace(
        prompt_of(tokenizer),
        background_ids=(1, 2, 3, 4, 90),
        background_end_ids=(91,),
        question_ids=(5,),
        answer_ids=(6, EOS),
    )
    assert templates.fit(prompt, 9) == ([BOS, 1, 2, 3, 4, 90, 5, 6, EOS], False)
    assert templates.fit(prompt, 8) == ([BOS, 1, 2, 3, 91, 5, 6, EOS], True)


def test_a_model_without_bos(tokenizer):
    tokenizer = LMTokenizer(tokenizer._backend, None, EOS)
    ids, _ = templates.fit(prompt_of(tokenizer), 1000)
    assert ids[0] == tokenizer.encode("B")[0]
