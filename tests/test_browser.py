"""That the browser of the tests sees what is wrong with a page."""

import pytest

from tests import browser as browser_lib


def test_a_good_page_has_no_problems(open_page):
    page = open_page("phone")
    page.set_content("<!doctype html><html lang=en><title>T</title><h1>Hi</h1>")
    assert page.viewport_size["width"] == 390
    assert browser_lib.sticks_out(page) == []
    assert browser_lib.barriers(page) == []


def test_what_is_wrong_is_noted(open_page):
    page = open_page()
    page.set_content(
        "<html lang=en><title>T</title><img src='http://198.51.100.7/a.png'>"
        "<div style='width:3000px'>wide</div><input>"
        "<script>console.error('an error'); throw new Error('raised')</script>"
    )
    page.wait_for_load_state("networkidle")
    assert any("<div" in one for one in browser_lib.sticks_out(page))
    assert any(one.startswith("label: <input>") for one in browser_lib.barriers(page))
    noted = "\n".join(open_page.problems)
    open_page.problems.clear()
    assert "asked the network for http://198.51.100.7/a.png" in noted
    assert "console: an error" in noted
    assert "raised raised" in noted


def test_an_allowed_error_is_no_problem(open_page):
    page = open_page(allowed="status of 4")
    page.set_content("<script>console.error('a status of 404')</script>")
    assert open_page.problems == []


@pytest.mark.parametrize("size", browser_lib.SIZES)
def test_windows_differ_in_width(open_page, size):
    assert open_page(size).evaluate("innerWidth") == browser_lib.SIZES[size][0]
