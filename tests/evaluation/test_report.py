import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import pytest

from radit_jax.evaluation import report, views

HOSTILE = (
    '</p><script>alert("1")</script><img src=https://a.example/x onerror=alert(2)>'
)
VOID = {"meta", "link", "img", "br", "hr", "input"}


class _Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self._open = [], [], [], []
        self.scripts = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def _passage(**changes):
    passage = {
        "title": "Normandy",
        "text": "Normandy is in France. Frances is not.",
        "document_id": "squad/1",
        "is_positive": True,
        "p_r_base": 0.75,
        "p_r_tuned": 0.5,
        "p_lsr": 0.125,
        "answers": {"base": "The Normans were a people", "ra_it": "France"},
    }
    return passage | changes


def _question(**changes):
    systems = [
        {"name": "REPLUG", "answer": "It is", "probability": 0.25, "correct": False},
        {"name": "RA-DIT", "answer": "France", "probability": None, "correct": True},
    ]
    question = {
        "question": "Where is Normandy?",
        "answers": ["France"],
        "passages": [_passage()],
        "systems": systems,
    }
    return question | changes


CURVES = {
    "lm/ra_it": [{"step": 0, "validation_loss": 3.5}, {"step": 1, "loss": 2.0}],
    "retriever": [
        {"step": 0, "validation_mrr": 0.5},
        {"step": 5, "loss": 1.0, "validation_mrr": 0.625},
        {"step": 9, "loss": 0.5, "entropy_p_lsr": 0.3, "entropy_p_r": 1.5},
    ],
}
STAGES = [
    {"stage": "chunk_corpus", "seconds": 75.0, "counts": {"num_chunks": 5012}},
    {"stage": "evaluate", "seconds": None, "output": "evaluation", "note": "later"},
]


@pytest.fixture
def write(tmp_path, results):
    def write(curves=CURVES, shown=None, stages=STAGES, environment=None):
        shown = [_question()] if shown is None else shown
        path = tmp_path / "report.html"
        report.write_report(
            path, results, curves, shown, stages, environment or {}, shown
        )
        return path.read_text(encoding="utf-8")

    return write


def test_report_shows_every_part(write, results):
    results["retriever"]["base"].update(num_questions=97, num_without_positives=3)
    environment = {"jax": "0.10.2", "devices": ["cpu:0", "cpu:1"], "config": {"k": 3}}
    page = _Page(write(environment=environment))
    for expected in (
        "raised exact match from 0.0 % to 33.0 %",
        "Under the RA-IT LM, the right passage, against none, raised exact match by "
        "40.0 points (20.0 to 60.0). A random passage changed it by −5.0 points",
        "In one prompt − weighed",
        "cut to fit the LM’s prompt for 2 of 20 at k = 3",
        "1,234",
        "0.50 s for 2 retrievers",
        "85 questions",
        "A demonstration on development data, not a benchmark result",
        "IT + retriever separates learning to answer briefly from learning to read",
        "11.0 % of its answers contain a reference",
        "Measured on 97 questions; 3 name no paragraph",
        "31.0 22.0 to 40.0",
        "+2.0 −4.0 to +8.0",
        "0.680 0.600 to 0.770",
        "Where is Normandy?",
        "gold paragraph",
        "0.750",
        "p = 0.25",
        "1 min 15 s",
        "num chunks 5,012",
        "not run",
        "cpu:0, cpu:1",
        '"k": 3',
    ):
        assert expected in page.text, expected
    assert page.tags.count("svg") == 6
    assert page.tags.count("mark") == 1


def test_report_is_self_contained(write):
    page = _Page(write())
    loading = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}
    targets = [value for name, value in page.attributes if name in loading]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert {target[1:] for target in targets} <= {
        value for name, value in page.attributes if name == "id"
    }
    assert not {"link", "iframe", "img", "object"} & set(page.tags)
    assert ("type", "application/json") in page.attributes
    assert len(page.scripts) == 2  # the data, and what draws them
    digest = hashlib.sha256(page.scripts[1].encode()).digest()
    only = base64.b64encode(digest).decode()
    assert f"script-src 'sha256-{only}'" in str(page.attributes)
    assert not re.search(r"url\(|@import|https?:", write())


@pytest.mark.parametrize(
    "changes",
    [
        {"question": HOSTILE},
        {"answers": [HOSTILE]},
        {"passages": [_passage(text=HOSTILE, title=HOSTILE)]},
        {"passages": [_passage(text="alert script", answers={HOSTILE: HOSTILE})]},
        {"systems": [{"name": HOSTILE, "answer": HOSTILE, "probability": 0.5,
                      "correct": True}]},
    ],
    ids=["question", "answers", "passage", "passage_answers", "systems"],
)  # fmt: skip
def test_hostile_questions_are_text(write, changes):
    text = write(shown=[_question(**changes)])
    page = _Page(text)
    assert "img" not in page.tags
    assert page.tags.count("script") == len(page.scripts) == 2
    assert 'alert("1")' in json.dumps(json.loads(page.scripts[0])).replace("\\", "")
    assert page.scripts[1] == _Page(write()).scripts[1]
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert 'alert("1")' in page.text + str(page.attributes)
    assert "default-src 'none'" in html.unescape(text)


def test_hostile_names_elsewhere_are_text(write, results):
    results["systems"][0]["name"] = results["differences"][0]["what"] = HOSTILE
    stages = [{"stage": HOSTILE, "seconds": 1.0, "counts": {HOSTILE: HOSTILE}}]
    environment = {HOSTILE: HOSTILE, "config": {HOSTILE: HOSTILE}, "date": HOSTILE}
    curves = {HOSTILE: [{"step": 1, "loss": 1.0}]}
    page = _Page(write(curves=curves, stages=stages, environment=environment))
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    assert page.text.count('alert("1")') >= 7


def test_odd_characters_are_written(write):
    question = _question(question="\u202e reversed \ud800 🙂 من")
    page = _Page(write(shown=[question]))
    assert "reversed ? 🙂 من" in page.text
    assert ("dir", "auto") in page.attributes


def test_report_without_tuned_retriever_curves_and_questions(write, results):
    results["systems"] = results["systems"][:4]
    del results["retriever"]["tuned"]
    results.update(differences=[], gold=[], probes={}, cost=[])
    page = _Page(write(curves={}, shown=[], stages=[]))
    assert page.text.count("not run") == 2
    assert "The retriever’s fine-tuning is not part of this run." in page.text
    assert "No training is part of this run." in page.text
    assert "No questions were drawn" in page.text
    assert "svg" not in page.tags
    assert "No probes ran" in page.text
    assert "script" not in page.tags


def test_report_of_nothing_at_all(write, results):
    results.update(systems=[], retriever={}, differences=[])
    page = _Page(write(curves={"lm/it": []}, shown=[], stages=[]))
    assert "no two systems to compare" in page.text
    assert page.text.count("not run") == 6
    assert "no question names the paragraph" in page.text


def test_bars_are_those_that_any_passage_has(write):
    passages = [_passage(p_r_tuned=None, p_lsr=None), _passage(p_lsr=None)]
    view = views.question_view(_question(passages=passages))
    labels = [str(bar["label"]) for bar in view["passages"][0]["bars"]]
    assert labels == ["p<sub>R</sub> before", "p<sub>R</sub> after"]
    assert "–" in _Page(write(shown=[_question(passages=passages)])).text
    assert "p_LSR" not in str(view)


def test_a_system_alone_has_no_passages(write):
    assert "Passages" not in _Page(write(shown=[_question(passages=[])])).texts


def test_highlight_marks_whole_words_in_any_case_and_the_longest():
    text = "in FRANCE, not Frances <b> of New France"
    assert views.highlight(text, ["France", "New France"]) == (
        "in <mark>FRANCE</mark>, not Frances &lt;b&gt; of <mark>New France</mark>"
    )
    assert views.highlight("a < b", []) == "a &lt; b"
    assert views.highlight("c++ (x)", ["c++"]) == ("<mark>c++</mark> (x)")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "not run"),
        (0.04, "0.0 s"),
        (9.97, "10 s"),
        (59.6, "1 min 0 s"),
        (75.0, "1 min 15 s"),
        (4000.0, "1 h 6 min"),
    ],
)
def test_duration(seconds, text):
    assert report.duration(seconds) == text
