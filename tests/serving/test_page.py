"""The page to ask, in a browser."""

import dataclasses

import pytest

from radit_jax.serving.page import About
from tests import browser as browser_lib

from .fakes import ABOUT, OTHER, PASSAGE, TOKEN, FakeSystem, running

HOSTILE = (
    "</textarea></script><img src=https://a.example/x onerror=alert(1)>"
    "<script>alert(2)</script> \u202eمن هو 👩‍👩‍👧 " + "Donaudampfschiff" * 4
)
BAD = dataclasses.replace(PASSAGE, title=HOSTILE, text=HOSTILE * 4)
BOTH = About({"tuned": "an LM", "base": "another"}, 5431, 2, "answer_ensemble", ())


@pytest.fixture(scope="module")
def served():
    systems = {"tuned": FakeSystem(passages=(BAD, OTHER)), "base": FakeSystem("base")}
    with running(systems, dataclasses.replace(BOTH, examples=ABOUT.examples)) as found:
        yield found


def ask(page, question):
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")


def answers(page, number):
    """Of the columns, once all are there."""
    page.wait_for_function(
        "n => document.querySelectorAll('.sure:not(:empty)').length === n", arg=number
    )
    return page.locator(".answer").all_text_contents()


@pytest.mark.parametrize("size", browser_lib.SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_asking(open_page, served, size, scheme):
    page = open_page(size, scheme)
    page.goto(served.url)
    assert browser_lib.barriers(page) == []
    page.get_by_role("button", name="Who is Pell?").click()  # an example
    assert answers(page, 1) == ["Pell?"]
    assert page.get_by_role("heading", name="Tuned, with passages").is_visible()
    assert page.locator(".share").all_text_contents() == ["75 %", "25 %"]
    bars = [bar.bounding_box()["width"] for bar in page.locator(".track i").all()]
    assert bars[0] == pytest.approx(3 * bars[1], rel=0.01)
    assert page.locator(".says").all_text_contents() == ["Pell?", "Isk"]
    assert page.locator(".tick:visible").count() == 1
    assert "Tuned, with passages: Pell?." in page.get_by_role("status").inner_text()
    assert browser_lib.sticks_out(page) == []
    assert browser_lib.barriers(page) == []


@pytest.mark.parametrize("size", browser_lib.SIZES)
def test_hostile_text_is_text(open_page, served, size):
    page = open_page(size)
    page.on("dialog", lambda dialog: pytest.fail("a script of the question ran"))
    page.goto(served.url)
    ask(page, HOSTILE)
    assert answers(page, 1) == [HOSTILE.split()[-1]]
    assert page.locator(".title").first.text_content() == HOSTILE
    assert page.locator("main img, main script").count() == 0
    assert browser_lib.sticks_out(page) == []


def test_side_by_side_by_keyboard(open_page, served):
    page = open_page()
    page.goto(served.url)
    page.keyboard.type("who is Pell")  # the box has the focus
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")  # from the first of a group to its last
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert answers(page, 4) == ["Pell"] * 4
    assert page.locator(".column h2").all_text_contents() == [
        *("Tuned, with passages", "Tuned, without passages"),
        *("Base, with passages", "Base, without passages"),
    ]
    tops = [one.bounding_box()["y"] for one in page.locator(".answer").all()]
    assert tops[0] == tops[1] < tops[2] == tops[3]
    assert browser_lib.sticks_out(page) == []


@pytest.mark.parametrize("size", browser_lib.SIZES)
def test_without_scripts(open_page, served, size):
    page = open_page(size, allowed="status of 422", java_script_enabled=False)
    page.goto(served.url)
    page.get_by_label("Your question").fill(HOSTILE)
    page.locator("fieldset").nth(1).get_by_text("Side by side").click()
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator(".answer").nth(1).wait_for()
    assert page.locator(".answer").all_text_contents() == [HOSTILE.split()[-1]] * 2
    assert page.locator(".title").first.text_content() == HOSTILE
    assert page.get_by_label("Your question").input_value() == HOSTILE
    assert page.locator("input:checked").nth(1).get_attribute("value") == "both"
    page.get_by_label("Your question").fill(" ")
    page.get_by_role("button", name="Ask", exact=True).click()
    assert "the question is empty" in page.get_by_role("alert").inner_text()


def test_an_answer_is_seen_to_grow(open_page):
    system = FakeSystem(mode="token_ensemble")
    system.may_go_on.clear()
    with running({"tuned": system}, max_waiting=1) as found:
        page = open_page(allowed="status of 4|ERR_")
        page.goto(found.url)
        ask(page, "who is Pell")
        page.locator(".passage").nth(1).wait_for()
        assert page.locator(".state").inner_text() == "reading …"
        assert page.get_by_role("button", name="Ask").is_visible()
        other = open_page(allowed="status of 4")
        other.goto(found.url)
        other.get_by_text("Side by side").click()
        ask(other, "two places where there is one")
        alert = other.get_by_role("alert")
        alert.get_by_text("questions wait already; ask again in about").wait_for()
        system.may_go_on.set()
        assert answers(page, 1) == ["so far Pell"]
        found.server.should_exit = True
        found.wait_for(lambda: not found.server.servers[0].is_serving())
        ask(page, "still there")
        alert = page.get_by_role("alert")
        alert.get_by_text("The server does not answer. Is it still").wait_for()


def test_a_token_is_asked_for(open_page):
    with running(token=TOKEN) as found:
        page = open_page(allowed="status of 401")
        page.goto(found.url)
        page.get_by_label("Token").fill("wrong")
        ask(page, "who is Pell")
        alert = page.get_by_role("alert")
        alert.get_by_text("The token is missing or wrong").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        ask(page, "who is Pell")
        assert answers(page, 1) == ["Pell"]
        assert alert.inner_text() == ""
        assert browser_lib.barriers(page) == []
