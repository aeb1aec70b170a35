"""Wikitext as a reader sees it: what stays, what goes, and the sections."""

import mwparserfromhell
import pytest
from mwparserfromhell.parser import ParserError

from radit_jax.corpus import wikitext


def text_of(source):
    infobox, sections = wikitext.read_page(source)
    assert infobox == ""
    ((heading, text),) = sections
    assert heading == ""
    return text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("'''Paris''' is ''the'' capital.", "Paris is the capital."),
        (
            "In [[France]], the [[Seine|river]] is wide.",
            "In France, the river is wide.",
        ),
        ("See [[:Category:Towns]]. [[CSI: Miami]]", "See Category:Towns. CSI: Miami"),
        ("A town.\n[[Category:Towns]]\n[[de:Stadt]]", "A town."),
        ("[[File:A.jpg|thumb|The [[Seine]] at night]]A town.", "A town."),
        ("[http://a.org Its page] and [http://b.org].", "Its page and."),
        ("Old.<ref name=a>{{cite web|url=x}}</ref> New.<ref name=a />", "Old. New."),
        ("One.<ref>a<ref>b</ref> Two.", "One.a Two."),
        ("Left<!-- a\nremark --> out", "Left out"),
        ("A\n{|\n! Head\n|-\n| cell\n|}\nB", "A\nB"),
        ("Fruit:\n* apple\n* pear\n# one", "Fruit:\napple\npear\none"),
        ("<ul><li>apple</li><li>pear</li></ul>", "apple\npear"),
        ("One<br/>two<hr>three", "One\ntwo\nthree"),
        ("<gallery>A.jpg|a</gallery>H<sub>2</sub>O", "H2O"),
        ("<math>\\frac{a}{b_{2}}</math> <code>''x'' &lt; 1</code>", None),
        ("A&nbsp;B &ndash; C&#33;", "A B – C!"),
        ("__NOTOC__ Broken [[link and {{box and ''' bold </ref>", None),
        ("It is {{convert|10|to|12|km|mi|abbr=on}} long.", "It is 10 to 12 km long."),
        ("{{convert|3.5|kg}} of {{chem|H|2|O}}", "3.5 kg of H2O"),
        ("({{IPA-en|p}}; {{lang-fr|Paris}}) {{lang|la|urbs}}", "(Paris) urbs"),
        ("Nothing ({{IPA|x}}) {{main|Else}} {{citation needed}}.", "Nothing."),
        ("{{As of|2015|lc=y}}, {{nowrap|two words}} {{frac|1|2}}", None),
        ("{{ubl|a|b}} {{plainlist|\n* c\n* d}}", "a, b c\nd"),
    ],
)
def test_text(source, text):
    expected = {
        "<math>": "\\frac{a}{b_{2}} ''x'' < 1",
        "__NOTO": "Broken link and box and bold",
        "{{As o": "As of 2015, two words 1/2",
    }
    assert text_of(source) == (expected[source[:6]] if text is None else text)


def test_sections_have_the_headings_above_them():
    source = "Lead.\n== A ==\na\n=== ''B'' ===\nb\n==== C ====\n== D ==\nd"
    assert wikitext.read_page(source) == (
        "",
        [
            ("", "Lead."),
            ("A", "a"),
            ("A: B", "b"),
            ("A: B: C", ""),
            ("D", "d"),
        ],
    )


def test_an_infobox_is_keys_and_values():
    source = """{{Infobox person
| name = [[Ada Lovelace]]
| image = Ada.jpg
| insignia = Coat of arms.svg
| birth_date = {{birth date|1815|12|10|df=y}}
| fields = {{hlist|Mathematics|[[Computing]]<ref>x</ref>}}
| works = {{ubl|''Notes''|{{lang|fr|Lettres}}}}, 1,200 pages<br>letters
| flag_size = 20px
| spouse = {{citation needed}}
| empty =
}}
She was."""
    infobox, sections = wikitext.read_page(source)
    assert infobox == (
        "name: Ada Lovelace, birth date: 1815-12-10, fields: Mathematics, Computing, "
        "works: Notes, Lettres, 1,200 pages, letters"
    )
    assert sections == [("", "She was.")]


def test_two_infoboxes():
    source = "{{Taxobox|regnum=Animalia}}{{Football club infobox|name=A}}"
    assert wikitext.read_page(source)[0] == "regnum: Animalia\nname: A"


@pytest.mark.parametrize("error", [ParserError("stuck"), RecursionError("stuck")])
def test_the_parser_gives_up(monkeypatch, error):
    def give_up(*_, **__):
        raise error

    monkeypatch.setattr(mwparserfromhell, "parse", give_up)
    with pytest.raises(wikitext.WikitextError, match="stuck"):
        wikitext.read_page("a")
