"""The paper's template strings, the marker draw, and fitting a prompt to a limit."""

import collections
import dataclasses

import pytest

from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Instruction

BOS, EOS = 256, 257


@pytest.fixture
def tokenizer(byte_tokenizer):
    return byte_tokenizer


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


STORY = Instruction(
    "d1",
    "why?",
    ("Z",),
    category="reading_comprehension",
    context="abcdef",
    history=("one?", "A1", "two?", "A2"),
)
TALK = dataclasses.replace(STORY, category="dialogue", context="")


def encoded(tokenizer, instruction, **kwargs):
    return templates.encode_instruction(
        tokenizer, "d1", instruction, answer="Z", **kwargs
    )


# bos 1 + Background 20 + two turns of 14 + question 10 + answer 3 = 62 tokens.
@pytest.mark.parametrize(
    ("max_tokens", "text", "cut"),
    [
        (62, "Background: abcdef\n\nQ: one?\nA: A1\nQ: two?\nA: A2\n", (False, 0)),
        (60, "Background: abcd\n\nQ: one?\nA: A1\nQ: two?\nA: A2\n", (True, 0)),
        (42, "Q: one?\nA: A1\nQ: two?\nA: A2\n", (True, 0)),
        (41, "Background:\n\nQ: two?\nA: A2\n", (True, 2)),
        (28, "Q: two?\nA: A2\n", (True, 2)),
        (27, "Background:\n\n", (True, 4)),
        (14, "", (True, 4)),
    ],
)
def test_the_background_goes_first_then_the_oldest_turns(
    tokenizer, max_tokens, text, cut
):
    prompt, lost = templates.shorten(encoded(tokenizer, STORY), max_tokens, 3)
    assert tokenizer.decode(prompt.ids) == f"{text}Q: why?\nA: Z"
    assert len(prompt.ids) <= max_tokens
    assert (lost.background, lost.num_turns) == cut


def test_a_shortened_dialogue_begins_with_its_question(tokenizer):
    prompt = encoded(tokenizer, TALK)
    whole = "Q: one? A: A1 Q: two? A: A2 Q: why? A: Z"
    assert tokenizer.decode(templates.fit(prompt, 99)[0]) == whole
    shorter, cut = templates.shorten(prompt, 30, 3)
    assert tokenizer.decode(shorter.ids) == "Q: two? A: A2 Q: why? A: Z"
    assert cut == templates.Cut(False, 2)


def test_a_dialogue_has_its_own_markers(tokenizer):
    markers = templates.Markers("Question: ", "\n", "Answer:")
    ids, _ = templates.fit(encoded(tokenizer, TALK, markers=markers), 99)
    assert tokenizer.decode(ids) == "Q: one? A: A1 Q: two? A: A2 Q: why? A: Z"


def test_a_chunk_is_read_the_same_whatever_follows(tokenizer):
    one = encoded(tokenizer, TALK, passage="abc")
    other = encoded(tokenizer, dataclasses.replace(TALK, history=()), passage="abc")
    assert one.background_ids == other.background_ids
    assert (
        one.turn_ids[:1]
        == encoded(
            tokenizer, dataclasses.replace(TALK, history=("one?", "A1"))
        ).turn_ids
    )


def test_open_qa_is_encoded_as_ever(tokenizer):
    question = Instruction("q1", "why?", ("Z",), guidance="x", rationale="y")
    found = templates.encode_instruction(
        tokenizer, "q1", question, passage="abcdef", answer=templates.target(question)
    )
    assert found == prompt_of(tokenizer)


def test_an_unknown_category_is_refused(tokenizer):
    poem = dataclasses.replace(STORY, category="poem")
    with pytest.raises(templates.PromptError, match="category 'poem', which has no te"):
        encoded(tokenizer, poem)


def test_a_history_that_ends_with_a_question_is_refused(tokenizer):
    odd = dataclasses.replace(STORY, history=("one?",))
    with pytest.raises(templates.PromptError, match="has 1 earlier turns, the last of"):
        encoded(tokenizer, odd)
