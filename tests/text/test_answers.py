"""SQuAD's normalisation, EM, F1 and containment, against cases worked by hand."""

import pytest

from radit_jax.text import answers


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("  a  man,\tan apple\nthe end. ", "man apple end"),
        ("U.S.A.", "usa"),
        ("rock-and-roll", "rockandroll"),  # punctuation goes, no space comes
        ("the theatre", "theatre"),  # articles are whole words
        ("A-ha", "aha"),  # punctuation goes before articles do
        ("Beyoncé’s", "beyoncé’s"),  # neither accents nor curly quotes are ASCII
        ("STRAßE", "straße"),
        ("The", ""),
        ("", ""),
    ],
)
def test_normalize(text, normal):
    assert answers.normalize(text) == normal


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" Paris\nQ: next", "Paris"),
        ("Paris", "Paris"),
        ("\nParis", ""),
        (" Paris\r\n", "Paris"),
        ("", ""),
    ],
)
def test_first_line(text, line):
    assert answers.first_line(text) == line


@pytest.mark.parametrize(
    ("prediction", "golds", "match", "f1"),
    [
        ("the Paris.", ["Paris"], True, 1.0),
        # predicted {capital, of, france}, accepted {france}: P 1/3, R 1, F1 0.5
        ("The capital of France", ["France"], False, 0.5),
        ("The capital of France", ["Lyon", "capital of France"], True, 1.0),
        # a token counts as often as both have it: common 1, 2 * 1 / (3 + 2)
        ("no no no", ["no way"], False, 0.4),
        ("yes", ["yes"], True, 1.0),
        ("Yes, it is", ["yes"], False, 0.5),
        ("no", ["yes"], False, 0.0),
        ("", ["yes"], False, 0.0),
        ("The", ["a"], True, 1.0),  # nothing is left of either
        ("Zürich", ["Zurich"], False, 0.0),
        ("東京", ["東京"], True, 1.0),
    ],
)
def test_exact_match_and_f1(prediction, golds, match, f1):
    assert answers.exact_match(prediction, golds) is match
    assert answers.f1(prediction, golds) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("text", "golds", "found"),
    [
        ("It lies in New York City.", ["new york"], True),
        ("It lies in New-York", ["new york"], False),  # official: "newyork"
        ("Newark", ["new"], False),  # whole tokens
        ("York is new", ["new york"], False),  # in order
        ("New and York", ["new york"], False),  # and without a gap
        ("In 1990, he left.", ["1991", "1990"], True),
        ("some text", ["The"], False),
        ("", ["yes"], False),
    ],
)
def test_contains(text, golds, found):
    assert answers.contains(text, golds) is found


@pytest.mark.parametrize("measure", [answers.exact_match, answers.f1, answers.contains])
@pytest.mark.parametrize("golds", [[], "Paris"])
def test_accepted_answers_are_a_sequence(measure, golds):
    with pytest.raises(ValueError, match="give a sequence with one or more"):
        measure("Paris", golds)
