import pytest

from radit_jax.evaluation import findings, systems


def _keep(results, *names):
    kept = [system for system in results["systems"] if system["name"] in names]
    return {**results, "systems": kept}


def test_headline_of_a_gain(results):
    assert findings.headline(results) == (
        "Fine-tuning the LM and the retriever raised exact match from 0.0 % to 33.0 %"
    )


def test_headline_claims_nothing_where_the_interval_holds_zero(results):
    results["differences"][0]["em"].update(low=-1.0)
    assert findings.headline(results) == (
        "Fine-tuning the LM and the retriever made no difference that 100 questions "
        "can show: exact match 0.0 % before, 33.0 % after"
    )


def test_headline_of_a_loss(results):
    results["differences"][0]["em"].update(value=-33.0, low=-43.0, high=-24.0)
    assert "lowered exact match from 0.0 % to 33.0 %" in findings.headline(results)


def test_headline_without_an_interval_is_neutral(results):
    results["differences"] = []
    assert "took exact match from 0.0 % to 33.0 %" in findings.headline(results)


def test_headline_takes_what_was_run(results):
    partly = _keep(results, "REPLUG", "RA-IT", "LM alone")
    assert findings.headline(partly).startswith("Fine-tuning the LM raised")
    assert "no two systems" in findings.headline(_keep(results, "RA-DIT"))


def test_decomposition_adds_up(results):
    assert findings.decomposition(results) == (
        "Step by step: +24.0 with plain instruction tuning, +7.0 with passages in the "
        "training prompts, +2.0 with the tuned query tower (an interval that includes "
        "0); +33.0 points in all."
    )
    results["differences"].pop(3)
    assert findings.decomposition(results) == ""


def test_findings_say_gain_loss_and_unclear(results):
    texts = {finding.title: finding.text for finding in findings.findings(results)}
    assert list(texts) == ["The language model", "The retriever", "The passages"]
    language_model, retriever, passages = texts.values()
    assert "none, raised exact match by 40.0 points (20.0 to 60.0)." in passages
    assert "A random passage changed it by −5.0 points, but the interval" in passages
    assert "raised exact match by 7.0 points (2.0 to 12.0)" in language_model
    assert "by +2.0 points, but the interval (−4.0 to +8.0) includes 0" in retriever
    assert "it lowered exact match by 6.0 points (2.5 to 9.5)" in retriever
    assert "MRR from 0.680 to 0.720." in retriever


def test_findings_of_no_change_and_of_contained_answers(results):
    results["differences"][4]["em"] = {"value": 0.0, "low": 0.0, "high": 0.0}
    results["differences"][0]["contains"] = {"value": 20.0, "low": 11.0, "high": 29.0}
    results["retriever_difference"] = {"mrr": {"value": 0.04, "low": -0.1, "high": 0.2}}
    texts = {finding.title: finding.text for finding in findings.findings(results)}
    assert "left exact match as it was, question by question" in texts["The retriever"]
    assert "to 0.720, a change whose interval includes 0." in texts["The retriever"]
    assert "contain a reference by 20.0 points" in texts["Brevity aside"]


def test_brevity_speaks_only_for_what_was_measured(results):
    text = findings.brevity(results)
    assert "11.0 % of its answers contain a reference, 0.0 % are one" in text
    results["systems"][1]["contains"]["value"] = 0.0
    assert "answers briefly already" in findings.brevity(results)
    assert findings.brevity(_keep(results, "RA-IT")) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(2.04, "+2.0"), (-2.06, "−2.1"), (-0.04, "0.0"), (0.0, "0.0")]
)
def test_signed(value, text):
    assert findings.signed(value) == text


def test_comparisons_change_one_thing_and_have_unique_names():
    names = [comparison.what for comparison in systems.COMPARISONS]
    assert len(set(names)) == len(names)
    assert names[3] == "RA-IT minus IT + retriever"
