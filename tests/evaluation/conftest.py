"""A small run's results, as the evaluate stage hands them over."""

import pytest


def measured(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def _system(name, lm, retriever, em, contains):
    return {
        "name": name,
        "lm": lm,
        "retriever": retriever,
        "em": em,
        "f1": measured(12.25, 8.0, 17.5),
        "contains": contains,
    }


@pytest.fixture
def results():
    zero, some = measured(0.0, 0.0, 0.0), measured(11.0, 5.0, 17.0)
    it, ra_it = measured(24.0, 16.0, 33.0), measured(31.0, 22.0, 40.0)
    systems = [
        _system("LM alone", "base", "none", zero, measured(1.0, 0.0, 3.0)),
        _system("REPLUG", "base", "base", zero, some),
        _system("IT + retriever", "it", "base", it, it),
        _system("RA-IT", "ra_it", "base", ra_it, ra_it),
        _system("R-ft only", "base", "tuned", zero, some),
        _system("RA-DIT", "ra_it", "tuned", measured(33.0, 24.0, 43.0), ra_it),
    ]
    differences = [
        {"what": "RA-DIT minus REPLUG", "em": measured(33.0, 24.0, 43.0)},
        {"what": "RA-IT minus REPLUG", "em": measured(31.0, 22.0, 40.0)},
        {"what": "IT + retriever minus REPLUG", "em": measured(24.0, 16.0, 33.0)},
        {"what": "RA-IT minus IT + retriever", "em": measured(7.0, 2.0, 12.0)},
        {"what": "RA-DIT minus RA-IT", "em": measured(2.0, -4.0, 8.0)},
        {"what": "R-ft only minus REPLUG", "em": measured(-6.0, -9.5, -2.5)},
    ]
    base = {"recall@1": measured(62.0, 52.0, 71.0), "mrr": measured(0.68, 0.6, 0.77)}
    tuned = {"recall@1": measured(65.0, 55.0, 74.0), "mrr": measured(0.72, 0.63, 0.8)}
    return {
        "systems": systems,
        "differences": differences,
        "retriever": {"base": base, "tuned": tuned},
        "num_questions": 100,
        "num_chunks": 10,
        "seconds": {},
        "gold": [
            {
                "name": "RA-DIT",
                "lm": "ra_it",
                "retriever": "tuned",
                "found": {"num_questions": 85, "em": measured(40.0, 30.0, 50.0)},
                "missed": {"num_questions": 0},
            }
        ],
        "probes": _probes(),
        "cost": [
            {
                "name": "RA-DIT",
                "lm": "ra_it",
                "retriever": "tuned",
                "num_prompt_tokens": 1234.0,
                "num_answer_tokens": 9.0,
                "lm_seconds_per_question": 0.5,
                "lm_retrievers": 2,
            }
        ],
    }


def _probe_row(name, value, num_truncated=0):
    interval = measured(value, max(0.0, value - 20), value + 20)
    return {"name": name, "num_questions": 20, "num_prompt_tokens": 99.0} | {
        "num_truncated": num_truncated,
        "em": interval,
        "f1": interval,
        "contains": interval,
    }


def _probes():
    """A probe of each kind, the passages' of one LM."""
    right, random = measured(40.0, 20.0, 60.0), measured(-5.0, -15.0, 5.0)
    together = measured(-10.0, -20.0, 0.0)
    by_k = [_probe_row(f"k={k}", v) for k, v in ((0, 5.0), (1, 30.0), (3, 35.0))]
    return {
        "depth": {"base": by_k[:2], "ra_it": by_k},
        "concatenate": {"ra_it": [*by_k[:2], _probe_row("k=3", 25.0, 2)]},
        "passages": {
            "ra_it": [
                _probe_row(name, value)
                for name, value in (("none", 5.0), ("right", 45.0), ("random", 0.0))
            ]
        },
        "together": [
            {"lm": "ra_it", "name": "k=3", "num_questions": 20, "em": together}
            | {"contains": together}
        ],
        "effects": {"ra_it": {"right": {"em": right}, "random": {"em": random}}},
    }
