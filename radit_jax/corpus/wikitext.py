"""Wikitext as plain text, by section; only this file knows of mwparserfromhell.

Templates, tables, references, comments, files and categories go. Links keep their
words, lists their items (a line each); code and formulas stand as they were written.
The templates that English sentences are made of keep their words, e.g. {{convert}},
and an infobox becomes "key: value, key: value".
"""

import html
import re
from collections.abc import Iterable, Iterator

import mwparserfromhell
from mwparserfromhell.nodes import (
    ExternalLink,
    Heading,
    HTMLEntity,
    Node,
    Tag,
    Template,
    Text,
    Wikilink,
)
from mwparserfromhell.parser import ParserError
from mwparserfromhell.wikicode import Wikicode

# The parser would drop them too, in twice the time.
_REFERENCE = re.compile(
    r"(?is)<!--.*?-->|<ref\b[^<>]*/>|<ref\b[^<>]*>(?:[^<]|<(?!/?ref\b))*+</ref\s*>"
)
_LEFT_OUT = re.compile(r"(?i)\s*(file|image|media|category)\s*:")
_INTERLANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)?:\S")
_DROPPED_TAGS = frozenset(
    "table ref references gallery timeline imagemap hiero score graph".split()
)
_AS_WRITTEN = frozenset("math chem code pre nowiki source syntaxhighlight".split())
_MARKUP = re.compile(  # what is left of unbalanced markup
    r"'{2,5}|\[\[|\]\]|\{\{|\}\}|\{\||\|\}|__[A-Z]+__"
    r"|</?(?:ref|br|div|span|small|su[bp]|center|blockquote|p|li|[uo]l|i|b|u)\b[^<>]*>"
)
# Templates whose arguments are words of the sentence; the others leave nothing.
_INLINE = {
    "as of": "As of {0}",
    "c.": "c. {0}",
    "circa": "c. {0}",
    "·": " · ",
    "'": "'",
    "'s": "'s",
    "=": "=",
    "!": "|",
    "chem": "{0}{1}{2}{3}{4}{5}",
    "frac": "{0}/{1}",
    "mdash": "—",
    "nbsp": " ",
    "ndash": "–",
    "nihongo": "{0} ({1})",
    "snd": " – ",
    "spaced ndash": " – ",
    "spaces": " ",
    "transl": "{1}",
} | dict.fromkeys(
    "angbr big blockquote bquote cquote flag linktext longitem math mvar noitalic "
    "nobold nobr nowrap quote smaller small sub sup val vanchor".split(),
    "{0}",
)
_LAST_ARGUMENT = frozenset(  # whose first ones are a language, a number of columns …
    ("native name", "native phrase")
    + tuple("lang columns-list flatlist nastaliq plainlist resize rtl-lang".split())
)
_LISTS = frozenset(("hlist", "ubl", "unbulleted list"))
_MEASURE = re.compile(r"[\d.,/+−-]+|to|and|or|by|x|×|–|-|to\(-\)|\(-\)|\+/-|±")
_BOX = re.compile(
    r"(?i)infobox\b|.* infobox$|geobox\b|(automatic )?taxobox$|speciesbox$"
)
_NOT_IN_BOX = re.compile(r"(?i)(cite|citation|sfn|efn|refn|coord|ref|flagicon)\b")
_LOOKS = re.compile(  # keys that say how an infobox looks, not what it says
    r"(?i)(image|img|logo|map|pushpin|photo|cover|signature|background|bg|colou?r)\b"
    r"|(alt|captions?|coord|coordinates|footnotes?|(lat|long?)[dms]?|latns|longew)$"
    r"|.* ?(alt|caption|image|photo|logo|(image|font|map|flag|logo) ?(size|width))$"
)
_FILE = re.compile(r"(?i).+\.(png|jpe?g|svg|gif|tiff?|ogg|webm)")


class WikitextError(ValueError):
    """Wikitext that can't be parsed."""


def read_page(wikitext: str) -> tuple[str, list[tuple[str, str]]]:
    """The infobox and the sections of a page.

    Returns:
      (infobox, sections): the infobox's text, "" if there is none; of each section its
      heading and its text, the lead first with the heading "". A subsection's heading
      is "Section: Subsection". Texts may be empty.

    Raises:
      WikitextError: the parser gave up, or the page is nested too deeply.
    """
    try:
        return _read(_REFERENCE.sub("", wikitext))
    except (ParserError, RecursionError) as error:
        raise WikitextError(str(error)) from error


def _read(wikitext: str) -> tuple[str, list[tuple[str, str]]]:
    code = mwparserfromhell.parse(wikitext, skip_style_tags=True)
    boxes, sections, path, nodes = [], [], [], []
    for node in code.nodes:
        if isinstance(node, Heading):
            sections.append((_heading(path), _text(nodes)))
            path = [one for one in path if one[0] < node.level]
            path.append((node.level, _text(node.title.nodes)))
            nodes = []
        elif isinstance(node, Template) and _BOX.match(_name(node)):
            boxes.append(_box_text(node))
        else:
            nodes.append(node)
    sections.append((_heading(path), _text(nodes)))
    return "\n".join(filter(None, boxes)), sections


def _heading(path: list[tuple[int, str]]) -> str:
    return ": ".join(title for _, title in path)


def _text(nodes: Iterable[Node], in_box: bool = False) -> str:
    """Tidy text: no empty brackets, no blank lines, single spaces."""
    text = "".join(_words(nodes, in_box))
    text = re.sub(r"\(\s*(?:[,;:]\s*)+", "(", text)
    text = re.sub(r"[ \t\xa0]*\(\s*\)", "", text)
    text = re.sub(r"[ \t\xa0]+(?=[ \t\xa0,.;:)\n])|(?<=\()[ \t]+", "", text)
    return re.sub(r"\s*\n\s*", "\n", text.replace("\xa0", " ")).strip()


def _words(nodes: Iterable[Node], in_box: bool) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Text):
            yield html.unescape(_MARKUP.sub("", node.value))
        elif isinstance(node, Wikilink):
            yield from _link(node, in_box)
        elif isinstance(node, ExternalLink):
            if node.title:
                yield from _words(node.title.nodes, in_box)
        elif isinstance(node, Heading):
            yield f"\n{_text(node.title.nodes)}\n"
        elif isinstance(node, HTMLEntity):
            yield node.normalize()
        elif isinstance(node, Template):
            yield _template(node, in_box)
        elif isinstance(node, Tag):
            yield from _tag(node, in_box)


def _link(link: Wikilink, in_box: bool) -> Iterator[str]:
    target = str(link.title)
    if _LEFT_OUT.match(target):
        return
    if link.text is None and _INTERLANGUAGE.match(target):
        return
    if link.text is None:
        yield target.removeprefix(":")
    else:
        yield from _words(link.text.nodes, in_box)


def _tag(tag: Tag, in_box: bool) -> Iterator[str]:
    name = str(tag.tag).strip().lower()
    if name in ("br", "hr", "li"):
        yield ", " if in_box else "\n"
    if name in _AS_WRITTEN:
        yield html.unescape(str(tag.contents))
    elif name not in _DROPPED_TAGS and tag.contents:
        yield from _words(tag.contents.nodes, in_box)


def _name(template: Template) -> str:
    return str(template.name).strip().lower().replace("_", " ")


def _template(template: Template, in_box: bool) -> str:
    name = _name(template)
    values = [p.value for p in template.params if not p.showkey or _is_number(p.name)]
    arguments = [_text(value.nodes, in_box) for value in values]
    if name in ("convert", "cvt"):
        return _measure(arguments)
    if name in _LAST_ARGUMENT or name.startswith("lang-"):
        return arguments[-1] if arguments else ""
    if name in _LISTS:
        return ", ".join(arguments)
    if name in _INLINE:
        return _INLINE[name].format(*arguments, *[""] * 6)
    if not in_box or _NOT_IN_BOX.match(name):
        return ""
    numbers = [one for one in arguments if one.isdigit()]
    if "date" in name and numbers:
        return "-".join(number.zfill(2) for number in numbers[:3])
    return ", ".join(filter(None, arguments))


def _is_number(name: Wikicode) -> bool:
    return str(name).strip().isdigit()


def _measure(arguments: list[str]) -> str:
    """Of {{convert|10|to|12|km|mi}}: "10 to 12 km"."""
    num_values = 0
    while num_values < len(arguments) and _MEASURE.fullmatch(arguments[num_values]):
        num_values += 1
    return " ".join(arguments[: num_values + 1])


def _box_text(box: Template) -> str:
    """Its filled-in fields, "key: value, key: value"."""
    pairs = []
    for parameter in box.params:
        key = str(parameter.name).strip().replace("_", " ")
        if not parameter.showkey or _LOOKS.match(key):
            continue
        value = _text(parameter.value.nodes, in_box=True).replace("\n", ", ")
        value = re.sub(r"\s*,(?:\s*,)+\s*", ", ", value).strip(" ,")
        if value and not _FILE.fullmatch(value):
            pairs.append(f"{key}: {value}")
    return ", ".join(pairs)
