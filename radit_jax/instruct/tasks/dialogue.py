"""Dialogue: the conversation trees of OpenAssistant."""

from collections.abc import Iterator, Sequence

from etils import epath

from radit_jax.instruct.tasks import conversion
from radit_jax.instruct.tasks.raw_files import json_lines, text
from radit_jax.instruct.tasks.task import Drop, Published, Record, Task
from radit_jax.types import Instruction

_TREES = "2023-04-12_oasst_ready.trees.jsonl.gz"
_SITE = "https://huggingface.co/datasets/OpenAssistant/oasst1"
_NOTHING = -1  # the place of what the first message answers
_UNRANKED = -1
_SPAM_SHARE = 0.5  # of the reviewers' votes

_Replies = dict[int, list[Record]]  # what answers the message at that place


def read_oasst1(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """Trees as lists of messages, each after the one that it answers."""
    for path in paths:
        for tree in json_lines(path):
            messages = list(_flat(tree.get("prompt")))
            yield {"id": text(tree.get("message_tree_id")), "messages": messages}


def _flat(root: Record | None) -> Iterator[Record]:
    waiting = [(root, _NOTHING)] if root else []
    place = 0
    while waiting:
        node, parent = waiting.pop()
        yield _message(node, parent)
        replies = node.get("replies") or ()
        waiting += [(reply, place) for reply in reversed(replies)]
        place += 1


def _message(node: Record, parent: int) -> Record:
    rank = node.get("rank")
    spam = (node.get("labels") or {}).get("spam") or {}
    return {
        "id": text(node.get("message_id")),
        "parent": parent,  # the place in the list of what it answers
        "role": text(node.get("role")),
        "lang": text(node.get("lang")),
        "text": text(node.get("text")),
        "rank": _UNRANKED if rank is None else int(rank),
        "deleted": bool(node.get("deleted")),
        "failed_review": node.get("review_result") is False,  # None: not reviewed
        "spam": float(spam.get("value") or 0.0),
    }


def oasst1(record: Record) -> Iterator[Instruction | Drop]:
    """One instruction for each assistant's turn on a tree's highest-ranked paths.

    Of the assistant's replies to a message only the best-ranked usable one is
    followed (rank 0 is best; unranked ones come last, in file order). People's
    follow-ups are not ranked in the release: each is followed, so a tree may give
    several paths; where they are ranked, the best alone. A message is usable if it is
    English, has text, passed its review, was not deleted and most of its reviewers
    didn't call it spam; nothing under another is used. The turns before are the
    `history`, the last prompt is the question. Every assistant's turn that gives no
    instruction is a Drop, and so is a tree without any.
    """
    replies: _Replies = {}
    for place, message in enumerate(record["messages"]):
        placed = message | {"place": place}
        replies.setdefault(message["parent"], []).append(placed)
    if not any(message["role"] == "assistant" for message in record["messages"]):
        yield Drop("no reply")
    yield from _follow(_NOTHING, (), replies)


def _follow(
    place: int, turns: tuple[str, ...], replies: _Replies
) -> Iterator[Instruction | Drop]:
    """What comes of the replies to the message at `place`, the last of `turns`."""
    messages = replies.get(place, [])
    best = _best([one for one in messages if not _fault(one)])
    for message in messages:
        if message not in best:
            reason = _fault(message) or "a better reply was followed"
            yield from _dropped(message, reason, replies)
            continue
        if message["role"] == "assistant":
            yield _instruction(message, turns)
        said = (*turns, message["text"].strip())
        yield from _follow(message["place"], said, replies)


def _instruction(message: Record, turns: tuple[str, ...]) -> Instruction | Drop:
    return conversion.instruction(
        "oasst1",
        "dialogue",
        message["id"],
        turns[-1] if turns else "",
        (message["text"],),
        history=turns[:-1],
    )


def _best(usable: list[Record]) -> list[Record]:
    ranks = [one["rank"] for one in usable if one["rank"] != _UNRANKED]
    if ranks:
        usable = [one for one in usable if one["rank"] == min(ranks)]
    if usable and usable[0]["role"] == "assistant":
        return usable[:1]
    return usable


def _fault(message: Record) -> str | None:
    """Why a message can't be used; None if it can."""
    faults = {
        "deleted": message["deleted"],
        "failed its review": message["failed_review"],
        "spam": message["spam"] > _SPAM_SHARE,
        "not English": message["lang"] != "en",
        "no text": not message["text"].strip(),
    }
    return next((reason for reason, found in faults.items() if found), None)


def _dropped(message: Record, reason: str, replies: _Replies) -> Iterator[Drop]:
    """A Drop for each assistant's turn from this message on."""
    if message["role"] == "assistant":
        yield Drop(reason)
    for reply in replies.get(message["place"], []):
        yield from _dropped(reply, reason, replies)


OASST1 = Task(
    name="oasst1",
    category="dialogue",
    source=Published(
        version="1.0.0",
        homepage=_SITE,
        files={"train": (_TREES,)},
        urls={_TREES: f"{_SITE}/resolve/main/{_TREES}"},
        fields={
            "id": str,
            "messages": [
                {
                    "id": str,
                    "parent": int,
                    "role": str,
                    "lang": str,
                    "text": str,
                    "rank": int,
                    "deleted": bool,
                    "failed_review": bool,
                    "spam": float,
                }
            ],
        },
        read=read_oasst1,
    ),
    licence="Apache-2.0",
    instructions=oasst1,
)
