"""Real corpora: a slice of the English Wikipedia's dump, and DPR's passages."""

import collections
import pathlib
import re

import pytest

from radit_jax.corpus import formats
from radit_jax.corpus.formats import Document, Skipped
from radit_jax.text import chunking

FOLDER = pathlib.Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(
        not FOLDER.exists(), reason=f"the real corpora are not in {FOLDER}"
    ),
]
_MARKUP = re.compile(r"\[\[|\]\]|'''|</?(ref|div|span|table)\b|^\{?\||\bthumb\|", re.M)


def read(path):
    (part,) = formats.parts(path)
    return [
        found
        for place, raw in formats.read_raw(part)
        for found in formats.parse(part.format, place, raw)
    ]


def test_a_wikipedia_dump():
    (path,) = (FOLDER / "wiki_dump_gensim").glob("*.bz2")
    found = read(path)
    documents = [one for one in found if isinstance(one, Document)]
    skipped = collections.Counter(
        one.reason for one in found if isinstance(one, Skipped)
    )
    assert len(documents) + skipped.total() == len(found)
    assert skipped["redirect"] == 99
    assert skipped["disambiguation page"] == 8
    assert len({document.id for document in documents}) == len(documents) == 1811
    assert sum(document.section == "Infobox" for document in documents) == 50
    assert not [one for one in documents if _MARKUP.search(one.text)]
    chunks = [
        chunk
        for document in documents
        for chunk in chunking.chunk_document(document, 200, min_words=5)
    ]
    assert len(chunks) > 3200


def test_dpr_passages():
    documents = read(FOLDER / "wiki_mix" / "psgs.tsv.gz")
    assert len(documents) == len({document.id for document in documents}) == 61_864
    for document in documents:
        for chunk in chunking.chunk_document(document, 100, min_words=5):
            end = chunk.start + len(chunk.text)
            assert document.text[chunk.start : end] == chunk.text
            assert 5 <= len(chunk.text.split()) < 100
