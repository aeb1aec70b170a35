"""A MediaWiki dump: its pages, what is left out of them, and how it may be damaged."""

import io

import pytest

from radit_jax.corpus import formats, wiki_dump
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.records import BadRecord, Skipped
from radit_jax.types import Document

HEAD = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">\n  <siteinfo/>\n'
TAIL = "</mediawiki>\n"


def page(text, title="Paris", ns=0, page_id=7, more="", model="wikitext"):
    """A page as dumps write it."""
    return f"""  <page>
    <title>{title}</title>
    <ns>{ns}</ns>
    <id>{page_id}</id>{more}
    <revision>
      <id>716551092</id>
      <model>{model}</model>
      <text xml:space="preserve">{text}</text>
    </revision>
  </page>
"""


def read(*pages, head=HEAD, tail=TAIL):
    content = (head + "".join(pages) + tail).encode()
    return [
        found
        for place, raw in wiki_dump.read_pages(io.BytesIO(content), "w.xml")
        for found in formats.parse("xml", place, raw)
    ]


def test_a_document_a_section():
    text = """{{Infobox settlement|name=Paris|population=2,102,650}}
'''Paris''' is &quot;the&quot; capital.
==History==
===Origins===
The [[Parisii]] came.
==See also==
* [[Lyon]]"""
    assert read(page(text)) == [
        Document("7-infobox", "name: Paris, population: 2,102,650", "Paris", "Infobox"),
        Document("7-0", 'Paris is "the" capital.', "Paris"),
        Skipped("w.xml:3", "section without text of its own"),
        Document("7-2", "The Parisii came.", "Paris", "History: Origins"),
        Skipped("w.xml:3", "section of references or links"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (page("#REDIRECT [[Lyon]]", more='<redirect title="Lyon" />'), "redirect"),
        (page("A template.", ns=10), "page of another namespace"),
        (page("{}", model="json"), "page without wikitext"),
        (page("May be:", title="Paris (disambiguation)"), "disambiguation page"),
        (page("It may be:\n{{Disambiguation|geo}}"), "disambiguation page"),
        (page("It may be:\n{{hndis}}"), "disambiguation page"),
        (page("It may be:\n{{Human name disambiguation}}"), "disambiguation page"),
    ],
)
def test_pages_that_are_left_out(content, reason):
    assert read(content) == [Skipped("w.xml:3", reason)]


def test_an_article_may_name_a_disambiguation_page():
    text = "{{About|the city||Paris (disambiguation)}} {{disambiguation needed}} It is."
    assert read(page(text)) == [Document("7-0", "It is.", "Paris")]


def test_the_newest_revision_counts():
    older = "<revision><text>Older.</text></revision>"
    assert read(page("Newest.", more=older)) == [Document("7-0", "Newest.", "Paris")]


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
def test_pages_have_the_line_they_begin_in(monkeypatch, block_bytes):
    monkeypatch.setattr(wiki_dump, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(wiki_dump, "_HEAD_BYTES", len(HEAD))
    content = HEAD + page("One.\n\nTwo.") + "\n" + page("Three.", page_id=8) + TAIL
    found = list(wiki_dump.read_pages(io.BytesIO(content.encode()), "w.xml"))
    assert [place for place, _ in found] == ["w.xml:3", "w.xml:16"]
    lines = content.split("\n")
    assert [lines[n - 1].strip() for n in (3, 16)] == ["<page>", "<page>"]
    assert [raw.split()[0] + raw.split()[-1] for _, raw in found] == [
        b"<page></page>"
    ] * 2


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (page("a < b"), "is no whole <page> of a MediaWiki dump (not well-formed"),
        (
            page("a").replace("</page>", ""),
            "is no whole <page> of a MediaWiki dump (no",
        ),
        ("<page><id>5</id><revision/></page>\n", "is a <page> without <id>, <title>"),
        ("<page><id>5</id><title>T</title></page>\n", "is a <page> without <id>, <tit"),
    ],
)
def test_a_damaged_page(damaged, reason):
    found = read(damaged, page("Whole.", page_id=8), page("Last.", page_id=9))
    assert isinstance(found[0], BadRecord)
    assert found[0].place == "w.xml:3"
    assert found[0].reason.startswith(reason)
    assert found[-1] == Document("9-0", "Last.", "Paris")


def test_wikitext_that_the_parser_gives_up(monkeypatch):
    def give_up(text):
        raise wikitext.WikitextError("too deep")

    wikitext = wiki_dump.wikitext_module()
    monkeypatch.setattr(wikitext, "read_page", give_up)
    reason = "is wikitext that can't be parsed (too deep)."
    assert read(page("a")) == [BadRecord("w.xml:3", reason)]


def test_a_dump_that_breaks_off():
    with pytest.raises(
        CorpusError, match="w.xml breaks off after line 12: there is no"
    ):
        read(page("One."), page("Two.")[:-9], tail="")


def test_a_file_of_something_else():
    with pytest.raises(CorpusError, match="w.xml doesn't begin with <mediawiki>, so"):
        read(head="<feed>", tail="</feed>")
