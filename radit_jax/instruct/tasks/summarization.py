"""Summarisation: news stories with their highlights (paper §2)."""

import hashlib
import io
from collections.abc import Iterator, Sequence

from etils import epath

from radit_jax.instruct.tasks import conversion, raw_files
from radit_jax.instruct.tasks.task import Drop, Published, Record, SourceError, Task
from radit_jax.text.templates import SUMMARIZE
from radit_jax.types import Instruction

_HIGHLIGHT = "@highlight"
_SENTENCE_ENDS = (".", "!", "?", "'", "`", '"', "’", "”", ")")
_ARCHIVES = {
    "cnn_stories.tgz": "cnn/stories",
    "dailymail_stories.tgz": "dailymail/stories",
}


def read_cnn_dailymail(paths: Sequence[epath.Path]) -> Iterator[Record]:
    """The stories of both newspapers that a list of addresses names.

    A story's file is named by the SHA-1 of its address.

    Raises:
      SourceError: a story of the list is in neither archive.
    """
    addresses, *archives = paths
    with raw_files.opened(addresses) as file:
        listed = {hashlib.sha1(line.strip()).hexdigest() for line in file}
    for archive in archives:
        for name, content in raw_files.tar_members(archive, _ARCHIVES[archive.name]):
            story = epath.Path(name).stem
            if story in listed:
                listed.remove(story)
                yield _story(story, content.decode())
    if listed:
        raise SourceError(
            f"{len(listed)} stories of {addresses.name}, e.g. {min(listed)}.story, are "
            f"not in {', '.join(archive.name for archive in archives)}. Fetch them "
            "again from their publisher."
        )


def _story(name: str, content: str) -> Record:
    """The lines of the article, and those that follow a mark: the highlights.

    As the publisher's script does, a line that doesn't end a sentence, such as a
    picture's caption, gets a full stop.
    """
    article, highlights = [], []
    lines = (line.strip() for line in io.StringIO(content))
    found = article
    for line in filter(None, lines):
        if line.startswith(_HIGHLIGHT):
            found = highlights
            continue
        found.append(line if line.endswith(_SENTENCE_ENDS) else f"{line}.")
    return {"id": name, "article": article, "highlights": highlights}


def cnn_dailymail(record: Record) -> Iterator[Instruction | Drop]:
    """The context is the article, the answer its highlights, joined by spaces.

    Not by line breaks, since decoding stops at one. The newspaper's own beginning of
    an article, `LONDON, England (CNN) --`, stays.
    """
    if not record["article"]:
        yield Drop("no article")
        return
    yield conversion.instruction(
        "cnn_dailymail",
        "summarization",
        record["id"],
        SUMMARIZE,
        (" ".join(record["highlights"]),),
        context=" ".join(record["article"]),
    )


# tensorflow-datasets has the set, but builds it with TensorFlow only.
_LISTS_URL = "https://raw.githubusercontent.com/abisee/cnn-dailymail/master/url_lists/"
_STORIES_URL = "https://drive.google.com/uc?export=download&id="

CNN_DAILYMAIL = Task(
    name="cnn_dailymail",
    category="summarization",
    source=Published(
        version="3.0.0",
        homepage="https://cs.nyu.edu/~kcho/DMQA/",
        files={
            "train": ("all_train.txt", *_ARCHIVES),
            "validation": ("all_val.txt", *_ARCHIVES),
        },
        urls={
            "all_train.txt": f"{_LISTS_URL}all_train.txt",
            "all_val.txt": f"{_LISTS_URL}all_val.txt",
            "cnn_stories.tgz": f"{_STORIES_URL}0BwmD_VLjROrfTHk4NFg2SndKcjQ",
            "dailymail_stories.tgz": f"{_STORIES_URL}0BwmD_VLjROrfM1BxdkxVaTY2bWs",
        },
        fields={"id": str, "article": [str], "highlights": [str]},
        read=read_cnn_dailymail,
    ),
    licence="CNN's and the Daily Mail's texts, for research",
    instructions=cnn_dailymail,
)
