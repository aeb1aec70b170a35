"""CNN/Daily Mail: stories chosen by the lists of their addresses."""

import hashlib
import io
import tarfile

import pytest

from radit_jax.instruct.tasks import sources
from radit_jax.instruct.tasks.summarization import CNN_DAILYMAIL
from radit_jax.instruct.tasks.task import Drop, SourceError
from radit_jax.types import Instruction

STORY = """(CNN) -- The ferry sank off Ås

Nobody was hurt. "We swam"



@highlight

Ferry sinks off the coast

@highlight

All are safe!
"""
NO_ARTICLE = "@highlight\n\nOnly a highlight\n"
NO_HIGHLIGHTS = "Only an article.\n"
STORIES = {
    "cnn": {"http://cnn/1": STORY, "http://cnn/2": NO_ARTICLE},
    "dailymail": {"http://mail/3": NO_HIGHLIGHTS, "http://mail/4": STORY},
}
LISTS = {
    "all_train.txt": ("http://mail/3", "http://cnn/1", "http://cnn/2"),
    "all_val.txt": ("http://mail/4",),
}


def name_of(url):
    return hashlib.sha1(url.encode()).hexdigest()


@pytest.fixture
def manual_dir(tmp_path):
    """The publisher's archives and lists, made small."""
    folder = tmp_path / "manual" / "cnn_dailymail"
    folder.mkdir(parents=True)
    for paper, stories in STORIES.items():
        with tarfile.open(folder / f"{paper}_stories.tgz", "w:gz") as archive:
            for url, story in stories.items():
                member = tarfile.TarInfo(f"./{paper}/stories/{name_of(url)}.story")
                content = story.encode()
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    for name, urls in LISTS.items():
        (folder / name).write_text("".join(f"{url}\n" for url in urls))
    return folder.parent


def golden(url):
    return Instruction(
        id=f"cnn_dailymail:{name_of(url)}",
        question="Summarize this article:",
        answers=("Ferry sinks off the coast. All are safe!",),
        task="cnn_dailymail",
        category="summarization",
        context='(CNN) -- The ferry sank off Ås. Nobody was hurt. "We swam"',
    )


def test_golden(manual_dir, tmp_path):
    sources.prepare(CNN_DAILYMAIL, tmp_path, manual_dir)
    assert list(sources.read(CNN_DAILYMAIL, "train", tmp_path)) == [
        golden("http://cnn/1"),
        Drop("no article"),
        Drop("no answer"),
    ]
    assert list(sources.read(CNN_DAILYMAIL, "validation", tmp_path)) == [
        golden("http://mail/4")
    ]


def test_a_listed_story_that_is_missing_is_told(manual_dir, tmp_path):
    with (manual_dir / "cnn_dailymail" / "all_val.txt").open("a") as addresses:
        addresses.write("http://cnn/9\n")
    message = (
        rf"1 stories of all_val\.txt, e\.g\. {name_of('http://cnn/9')}\.story, are "
        r"not in cnn_stories\.tgz, dailymail_stories\.tgz"
    )
    with pytest.raises(SourceError, match=message):
        sources.prepare(CNN_DAILYMAIL, tmp_path, manual_dir)
