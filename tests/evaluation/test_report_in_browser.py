"""The report as a reader meets it: filters, keys, a phone, hostile text."""

import pytest

from radit_jax.evaluation import report
from tests import browser
from tests.evaluation.test_items import crowded
from tests.evaluation.test_report import CURVES, HOSTILE, STAGES, _passage, _question

SYSTEMS = ("REPLUG", "RA-IT", "RA-DIT")
ODD = (
    "W" * 400,
    "\u0645\u0646 \u0647\u0648? \u202e reversed",
    "\U0001f642\U0001f469\u200d\U0001f467 who?",
    HOSTILE,
)


def _asked(row, right, question=None, **changes):
    """`right`: of the systems, in their order; RA-DIT says "Pell" when it is."""
    systems = [
        {
            "name": name,
            "answer": "Pell" if is_right else f"Isk {row}",
            "probability": 0.75,
            "correct": is_right,
            "candidates": [("Pell", 0.75), (f"Isk {row}", 0.25)],
        }
        for name, is_right in zip(SYSTEMS, right, strict=True)
    ]
    asked = question or f"Who won race {row}?"
    return _question(question=asked, answers=["Pell"], systems=systems, **changes)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("report") / "report.html"


@pytest.fixture
def opened(open_page, path, results):
    def opened(size="desk", asked=None, **options):
        asked = asked or [
            _asked(0, (False, False, True)),
            _asked(1, (False, True, True)),
            _asked(2, (True, True, False)),
            _asked(3, (False, False, False), passages=[_passage(is_positive=False)]),
            *(_asked(4 + i, (False, True, True), odd) for i, odd in enumerate(ODD)),
        ]
        report.write_report(path, results, CURVES, asked[:3], STAGES, {}, asked)
        page = open_page(size, **options)
        page.goto(path.as_uri())
        return page

    return opened


def _listed(page):
    return page.locator("#item-list > li").count()


def test_filters_by_right_and_wrong_and_by_what_turned(opened):
    page = opened()
    assert _listed(page) == 8
    page.get_by_label("System", exact=True).select_option("RA-DIT")
    page.locator("#by-a-is").select_option("wrong")
    assert _listed(page) == 2
    page.locator("#by-b").select_option("RA-IT")
    page.locator("#by-b-is").select_option("right")
    assert "Who won race 2?" in page.locator("#item-list > li").text_content()
    assert page.get_by_role("status").inner_text() == "1 of 8 questions"
    # RA-IT → RA-DIT: race 0 was put right, race 2 was put wrong.
    turned = page.locator("#flips li", has_text="RA-IT → RA-DIT")
    turned.get_by_role("button", name="put right 1").click()
    assert _listed(page) == 1
    assert "Who won race 0?" in page.locator("#item").inner_text()
    for name in ("a-is", "b-is"):
        page.locator(f"#by-{name}").select_option("any")
    page.get_by_label("Gold passage").select_option("not retrieved")
    assert _listed(page) == 1
    page.get_by_label("Gold passage").select_option("any")
    page.get_by_label("Words").fill("race 1")
    assert _listed(page) == 1
    page.get_by_label("Words").fill("nothing of the kind")
    assert _listed(page) == 0
    assert "No question matches" in page.locator("#item").inner_text()


def test_keys_go_through_the_list(opened):
    page = opened()
    page.get_by_role("listbox").focus()
    chosen = page.locator("#item h3")
    for key, expected in (
        ("ArrowDown", "Who won race 1?"),
        ("j", "Who won race 2?"),
        ("k", "Who won race 1?"),
        ("ArrowUp", "Who won race 0?"),
        ("ArrowUp", "Who won race 0?"),
        ("End", HOSTILE),
        ("Home", "Who won race 0?"),
    ):
        page.keyboard.press(key)
        assert chosen.inner_text() == expected
        option = page.locator("[role=option][aria-selected=true]")
        assert option.count() == 1
        active = page.get_by_role("listbox").get_attribute("aria-activedescendant")
        assert active == option.get_attribute("id")


def test_a_question_in_full(opened):
    page = opened()
    shown = page.locator("#item")
    assert "3 answers weighed" not in shown.inner_text()
    page.get_by_text("2 answers weighed").first.click()
    text = shown.inner_text()
    for expected in ("Accepted: Pell", "p = 0.75", "gold paragraph", "0.500", "Isk 0"):
        assert expected in text, expected
    assert page.locator("#item mark").count() == 0
    page = opened(asked=[_asked(0, (True,) * 3, passages=[_passage(text="So Pell.")])])
    assert page.locator("#item mark").all_inner_texts() == ["Pell"]


@pytest.mark.parametrize("size", browser.SIZES)
def test_odd_text_stays_text_and_fits_the_window(opened, size):
    hostile = _passage(text=HOSTILE, title=HOSTILE, answers={"ra_it": HOSTILE})
    asked = [
        _asked(i, (True, True, False), odd, passages=[hostile, _passage(text=odd)])
        for i, odd in enumerate(ODD)
    ]
    page = opened(size, asked=asked)
    page.get_by_role("listbox").focus()
    for odd in ODD:
        assert page.locator("#item h3").inner_text() == odd
        assert browser.sticks_out(page) == []
        page.keyboard.press("ArrowDown")
    assert page.locator("#item img").count() == page.locator("img").count() == 0
    assert page.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barriers(opened, scheme):
    page = opened("phone", scheme=scheme)
    assert browser.barriers(page) == []


def test_2500_questions_are_under_5_mb_and_open(opened, path):
    page = opened(asked=crowded(2500))
    assert path.stat().st_size < 5_000_000
    assert _listed(page) == 2500
    assert "Passages are cut to" in page.locator("#all").inner_text()
    page.get_by_role("listbox").focus()
    page.keyboard.press("End")
    assert page.locator("[aria-selected=true]").get_attribute("id") == "item-2499"


def test_without_scripts_the_handful_is_still_there(open_page, opened, path):
    opened()
    text = path.read_text()
    assert "<noscript>" in text
    assert "Who won race 0?" in text[: text.index('id="items-data"')]
