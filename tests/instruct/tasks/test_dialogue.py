"""OpenAssistant's trees: which paths are followed, and what is left out."""

import collections

from etils import epath

from radit_jax.instruct.tasks import dialogue
from radit_jax.instruct.tasks.task import Drop
from radit_jax.types import Instruction
from tests.instruct.tasks import published


def message(parent, role, text, rank=-1, **changes):
    return {
        "id": f"m-{text}",
        "parent": parent,
        "role": role,
        "lang": "en",
        "text": text,
        "rank": rank,
        "deleted": False,
        "failed_review": False,
        "spam": 0.0,
    } | changes


def converted(*messages):
    return list(dialogue.oasst1({"id": "tree", "messages": list(messages)}))


def answers(found):
    return [one.answers[0] for one in found if isinstance(one, Instruction)]


def reasons(found):
    return [one.reason for one in found if isinstance(one, Drop)]


def test_the_fixture_s_paths(tmp_path):
    found = published.through_sources(dialogue.OASST1, "train", tmp_path)

    kept = [one for one in found if isinstance(one, Instruction)]
    asked, told = "Why is the sea salty?", "Rain carries salts from rocks into it."
    assert kept == [
        Instruction(
            id="oasst1:a2",
            question=asked,
            answers=(told,),
            task="oasst1",
            category="dialogue",
        ),
        Instruction(
            id="oasst1:a4",
            question="Are lakes salty too?",
            answers=("Only those without an outlet.",),
            task="oasst1",
            category="dialogue",
            history=(asked, told),
        ),
        Instruction(
            id="oasst1:a7",
            question="How salty is it?",
            answers=("About 35 grams a litre.",),
            task="oasst1",
            category="dialogue",
            history=(asked, told),
        ),
    ]
    assert collections.Counter(reasons(found)) == {
        "a better reply was followed": 3,  # a1, the a9 under it, and a8
        "deleted": 1,
        "failed its review": 1,
        "spam": 1,
        "no text": 1,
        "not English": 3,  # a5 under a German prompt, a6, and the Spanish tree
        "no reply": 1,
    }


def test_the_best_ranked_of_the_usable_replies_is_followed():
    prompt = message(-1, "prompter", "?")
    replies = [
        message(0, "assistant", "none"),
        message(0, "assistant", "third", rank=2),
        message(0, "assistant", "second", rank=1),
    ]
    best = message(0, "assistant", "first", rank=0)
    assert answers(converted(prompt, *replies, best)) == ["first"]
    assert answers(converted(prompt, *replies, best | {"deleted": True})) == ["second"]
    assert answers(converted(prompt, *replies, best | {"lang": "de"})) == ["second"]


def test_unranked_replies_are_followed_in_file_order():
    prompt = message(-1, "prompter", "?")
    replies = [message(0, "assistant", text) for text in ("first", "second")]
    found = converted(prompt, *replies)
    assert answers(found) == ["first"]
    assert reasons(found) == ["a better reply was followed"]


def test_every_unranked_follow_up_is_a_path_but_ranked_ones_compete():
    start = [message(-1, "prompter", "?"), message(0, "assistant", "!")]
    follow_ups = [message(1, "prompter", text, rank=-1) for text in ("x", "y")]
    ends = [message(2, "assistant", "on x"), message(3, "assistant", "on y")]
    assert answers(converted(*start, *follow_ups, *ends)) == ["!", "on x", "on y"]

    ranked = [one | {"rank": rank} for one, rank in zip(follow_ups, (1, 0), strict=1)]
    found = converted(*start, *ranked, *ends)
    assert answers(found) == ["!", "on y"]
    assert reasons(found) == ["a better reply was followed"]


def test_nothing_under_a_message_that_is_left_out_is_used():
    prompt = message(-1, "prompter", "?")
    gone = message(0, "assistant", "gone", deleted=True)
    below = [message(1, "prompter", "x"), message(2, "assistant", "below")]
    found = converted(prompt, gone, *below)
    assert reasons(found) == ["deleted", "deleted"]
    assert answers(found) == []


def test_spam_is_what_most_reviewers_call_so():
    prompt = message(-1, "prompter", "?")
    assert answers(converted(prompt, message(0, "assistant", "!", spam=0.5))) == ["!"]
    assert reasons(converted(prompt, message(0, "assistant", "!", spam=0.6))) == [
        "spam"
    ]


def test_a_tree_without_messages_is_counted():
    assert converted() == [Drop("no reply")]


def test_missing_fields_of_a_message_are_read_as_nothing(tmp_path):
    path = epath.Path(tmp_path) / "trees.jsonl"
    path.write_text('{"prompt": {"replies": [{"role": "assistant"}]}}\n{}\n')
    first, second = dialogue.read_oasst1([path])
    assert [one["parent"] for one in first["messages"]] == [-1, 0]
    assert first["messages"][1]["rank"] == -1
    assert second == {"id": "", "messages": []}
    assert reasons(dialogue.oasst1(first)) == ["not English"]
