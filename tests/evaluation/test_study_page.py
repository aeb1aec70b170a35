import re
from xml.etree import ElementTree

import numpy as np
import pytest

from radit_jax.evaluation import dot_plot, study_page, study_results
from radit_jax.evaluation.dot_plot import Dot
from tests.evaluation.conftest import measured
from tests.evaluation.test_report import HOSTILE, _Page

MEASURES = ("mrr", "recall@1", "recall@5", "recall@10")


def arm(name, gain, **changes):
    found = {
        "name": name,
        "what": f"what {name} changes",
        "is_control": False,
        "searched": "corpus",
        "kept_step": 20,
        "validation_mrr_before": 0.5,
        "validation_mrr": 0.53,
        "validation_mrr_at_last_step": 0.49,
        "seconds": 12.0,
        "diagnostics": {
            "entropy_p_lsr": 1.25,
            "agreement": 0.375,
            "nearly_uniform": 0.0625,
        },
        "after": {m: measured(0.61, 0.58, 0.64) for m in MEASURES},
        "gain": dict.fromkeys(MEASURES, gain),
    }
    return found | changes


GAIN, LOSS = measured(0.021, 0.004, 0.037), measured(-0.05, -0.08, -0.02)
UNCLEAR = measured(0.001, -0.006, 0.008)


@pytest.fixture
def results():
    answers = {"arm": "lsr", "num_questions": 200, "num_chunks": 5}
    for part in ("base", "after", "gain"):
        answers[part] = dict.fromkeys(("em", "f1", "contains"), measured(2.5, -1, 6))
    return {
        "num_questions": 3625,
        "judged_by": "chunks of positives",
        "num_chunks": 61864,
        "uniform_entropy": 2.302585,
        "base": {m: measured(0.589, 0.57, 0.61) for m in MEASURES},
        "arms": [
            arm("lsr", GAIN),
            arm("lsr_tau_1", UNCLEAR),
            arm("both_towers", LOSS, searched="candidates"),
            arm("shuffled", UNCLEAR, is_control=True),
            arm("gold", measured(0.1, 0.08, 0.12), is_control=True),
        ],
        "answers": answers,
    }


@pytest.fixture
def write(tmp_path, results):
    def write(settings=None):
        path = tmp_path / "study.html"
        study_page.write_page(path, results, settings or {"encoder": "MiniLM"})
        return path.read_text(encoding="utf-8")

    return write


def test_the_page_shows_every_part(write):
    page = _Page(write())
    for expected in (
        "1 of 3 ways to learn from the LM raised MRR, 1 lowered it",
        "3,625 dev questions over 61,864 passages; chunks of positives count",
        "A control, which must not help: MRR +0.001 (−0.006 to +0.008).",
        "A control, which is the upper bound: MRR +0.100 (+0.080 to +0.120).",
        "exact match +2.5 (−1.0 to +6.0) points",
        "0.610 +0.021 (+0.004 to +0.037)",
        "0.589 0.570 to 0.610",
        "what lsr_tau_1 changes",
        "ranks the base tower’s 10 passages anew",
        "2.30 nats is the largest",
        "1.25 38 % 6 % 20 0.490 (−0.010)",
        "200 dev questions with 5 passages each",
        "encoder MiniLM",
    ):
        assert expected in page.text, expected
    assert page.text.count("ranks the base tower’s 10") == 1
    assert page.tags.count("svg") == 1


def test_the_page_is_self_contained(write):
    page = _Page(write())
    targets = [value for name, value in page.attributes if name in ("src", "href")]
    ids = {value for name, value in page.attributes if name == "id"}
    assert targets
    assert {target.removeprefix("#") for target in targets} <= ids
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?:", write())


def test_hostile_text_is_text(write, results):
    results["arms"][0] |= {"name": HOSTILE, "what": HOSTILE}
    results["answers"]["arm"] = results["judged_by"] = HOSTILE
    page = _Page(write({HOSTILE: HOSTILE}))
    assert not {"script", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count('alert("1")') >= 8


def test_a_study_with_little_in_it(write, results):
    results["answers"] = None
    few = {"mrr": measured(0.6, 0.5, 0.7)}
    results["base"] = few
    results["arms"] = [
        arm(
            "lsr",
            UNCLEAR,
            diagnostics={},
            after=few,
            validation_mrr_before=None,
            validation_mrr_at_last_step=None,
        )
        | {"gain": {"mrr": UNCLEAR}}
    ]
    page = _Page(write())
    assert "None of 1 ways to learn from the LM moved MRR" in page.text
    assert page.text.count("not measured") == 6
    assert "lsr – – – 20 –" in page.text
    assert "no arm has answers yet" in page.text
    assert study_results.sentences(results) == []


def test_answers_of_a_tower_that_did_not_change(write, results):
    assert "it is the base tower" not in write()
    results["arms"][0]["kept_step"] = 0
    assert "No step of it beat the base tower there" in _Page(write()).text


def test_the_table_of_a_terminal(results):
    table = study_results.render_markdown(results)
    assert "| base tower | 0.589 | 0.6 | 0.6 | 0.6 |  |  |" in table
    row = "| lsr | 0.610 | 0.6 | 0.6 | 0.6 | +0.021 (+0.004 to +0.037) | 20 |"
    assert row in table
    assert "| both_towers (candidates alone) |" in table
    assert "| shuffled (control) |" in table


def test_gains_are_paired():
    """Question by question: two equal towers differ by exactly nothing."""
    before = {"mrr": np.array([1.0, 0.0, 0.5, 0.25])}
    same = study_results.compare(before, before, 200, 0)
    assert same["gain"]["mrr"] == measured(0.0, 0.0, 0.0)
    after = {"mrr": before["mrr"] + 0.125}
    compared = study_results.compare(after, before, 200, 0)
    assert compared["gain"]["mrr"] == measured(0.125, 0.125, 0.125)
    assert compared["after"]["mrr"]["value"] == 0.5625


def test_diagnostics_are_means_over_the_last_quarter():
    records = [{"step": 0, "validation_mrr": 0.5}]
    records += [
        {"step": i, "loss": 1.0, "agreement": i, "entropy_p_lsr": 2.0} for i in range(8)
    ]
    found = study_results.diagnostics(records)
    assert found == {"agreement": 6.5, "entropy_p_lsr": 2.0}
    assert study_results.diagnostics([]) == {}


def test_the_picture_puts_dots_where_they_belong():
    dots = [Dot("first", "gain", measured(2.0, 1.0, 3.0)), Dot("b", "loss", LOSS)]
    drawn = ElementTree.fromstring(dot_plot.dot_plot("<title>", "<unit>", dots))
    rows = list(drawn.iter("g"))
    assert [row.get("class") for row in rows] == ["gain", "loss"]
    [zero] = [path for path in drawn.iter("path") if path.get("class") == "zero"]
    zero_x = float(re.match(r"M([\d.]+) ", zero.get("d"))[1])
    centre = float(rows[0].find("circle").get("cx"))
    whisker = re.match(r"M([\d.]+) [\d.]+H([\d.]+)", rows[0].find("path").get("d"))
    low, high = map(float, whisker.groups())
    assert zero_x < low < centre < high
    assert centre - zero_x == pytest.approx(2 * (low - zero_x), abs=0.3)
    assert float(rows[1].find("circle").get("cx")) < zero_x
    assert "<unit>" in [text.text for text in drawn.iter("text")]


def test_the_picture_shortens_labels_and_may_be_empty():
    dot = Dot("a_name_of_more_than_twenty_letters", "gain", GAIN)
    drawn = ElementTree.fromstring(dot_plot.dot_plot("t", "u", [dot]))
    labels = [t.text for t in drawn.iter("text") if t.get("class") == "row"]
    assert labels == ["a_name_of_more_than…"]
    assert drawn.find("g").find("title").text == dot.label
    assert dot_plot.dot_plot("t", "u", []) == ""
