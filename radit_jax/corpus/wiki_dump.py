"""A MediaWiki XML dump, e.g. pages-articles.xml.bz2: a document a section.

Kept are the articles: pages of namespace 0 that are neither redirects nor
disambiguation pages (as DPR's Wikipedia), in their newest revision. Sections of
references and links are left out. What is left out is told, and so can be counted.
"""

import io
import re
from collections.abc import Iterator
from types import ModuleType
from xml.etree import ElementTree

from radit_jax.corpus.json_lines import CorpusError
from radit_jax.corpus.records import Fault, Skipped
from radit_jax.types import Document

_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 4096
_BEGIN, _END = b"<page>", b"</page>"
_DISAMBIGUATION = re.compile(
    r"(?i)\{\{\s*(?:(?:[\w–-]+ )*disambig(?:uation)?(?: page| cleanup)?|disamb|dab"
    r"|(?:hn|geo|school|hospital|road|number|math|callsign)dis|mathdab)\s*[|}]"
)
_BACK_MATTER = frozenset(
    {
        "citations",
        "external links",
        "footnotes",
        "further reading",
        "notes",
        "notes and references",
        "references",
        "references and notes",
        "see also",
        "sources",
        "works cited",
    }
)


def read_pages(stream: io.BufferedIOBase, name: str) -> Iterator[tuple[str, bytes]]:
    """The <page> elements, each with the line it begins in, as they stand.

    Args:
      stream: the XML, decompressed; a block and a page of it are held at a time.
      name: of the file, for places and errors.

    Raises:
      CorpusError: it is no MediaWiki dump, or breaks off before its end.
    """
    rest, line = stream.read(_HEAD_BYTES), 1
    if b"<mediawiki" not in rest:
        raise CorpusError(
            f"{name} doesn't begin with <mediawiki>, so it's no MediaWiki dump. "
            "Convert it to JSON lines, or move it out of the folder."
        )
    while True:
        done = 0
        while (end := rest.find(_END, done)) >= 0:
            end += len(_END)
            begin = max(rest.find(_BEGIN, done, end), done)
            line += rest.count(b"\n", done, begin)
            yield f"{name}:{line}", rest[begin:end]
            line += rest.count(b"\n", begin, end)
            done = end
        block = stream.read(_BLOCK_BYTES)
        if not block:
            break
        rest = rest[done:] + block
    if b"</mediawiki>" not in rest[done:]:
        raise CorpusError(
            f"{name} breaks off after line {line}: there is no </mediawiki> at its "
            "end. Fetch it again."
        )


def parse(place: str, raw: bytes) -> Iterator[Document | Skipped]:
    """The sections of one page, as documents `{page id}-{number}`, the lead 0.

    The infobox comes first, as the section "Infobox" of the document
    `{page id}-infobox`.

    Raises:
      Fault: the XML or the wikitext can't be parsed.
      CorpusError: mwparserfromhell is not installed.
    """
    wikitext = wikitext_module()
    try:
        page = ElementTree.fromstring(raw)
    except ElementTree.ParseError as error:
        raise Fault(f"is no whole <page> of a MediaWiki dump ({error}).") from error
    page_id, title = page.findtext("id", "").strip(), page.findtext("title", "").strip()
    revisions = page.findall("revision")
    if not page_id or not title or not revisions:
        raise Fault("is a <page> without <id>, <title> or <revision>.")
    revision = revisions[-1]
    content = revision.findtext("text") or ""
    reason = _why_skipped(page, revision, title, content)
    if reason:
        yield Skipped(place, reason)
        return
    try:
        infobox, sections = wikitext.read_page(content)
    except wikitext.WikitextError as error:
        raise Fault(f"is wikitext that can't be parsed ({error}).") from error
    if infobox:
        yield Document(f"{page_id}-infobox", infobox, title, "Infobox")
    for number, (heading, text) in enumerate(sections):
        if heading.partition(":")[0].lower() in _BACK_MATTER:
            yield Skipped(place, "section of references or links")
        elif not text:
            yield Skipped(place, "section without text of its own")
        else:
            yield Document(f"{page_id}-{number}", text, title, heading)


def _why_skipped(
    page: ElementTree.Element,
    revision: ElementTree.Element,
    title: str,
    content: str,
) -> str:
    if page.findtext("ns", "0").strip() != "0":
        return "page of another namespace"
    if page.find("redirect") is not None:
        return "redirect"
    if revision.findtext("model", "wikitext") != "wikitext":
        return "page without wikitext"
    if title.endswith("(disambiguation)") or _DISAMBIGUATION.search(content):
        return "disambiguation page"
    return ""


def wikitext_module() -> ModuleType:
    """The module that needs mwparserfromhell, imported when it is used.

    Raises:
      CorpusError: the package is not installed.
    """
    try:
        from radit_jax.corpus import wikitext
    except ModuleNotFoundError as error:
        if error.name != "mwparserfromhell":
            raise
        raise CorpusError(
            "Wikipedia's markup is read with mwparserfromhell, which is not installed. "
            "Run: pip install 'radit_jax[data]'"
        ) from error
    return wikitext
