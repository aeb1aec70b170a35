"""The sets' shares, and draws that meet them."""

import collections
import dataclasses

import pytest

from radit_jax.config import ExamplesConfig, InstructionsConfig
from radit_jax.instruct import mixture
from radit_jax.types import Instruction, Retrieved


def questions(name, num):
    ids = (f"{name}:{i}" for i in range(num))
    return [
        Retrieved(Instruction(i, "q", ("a",), task=name), (0,), (1.0,)) for i in ids
    ]


def weights(portions):
    return {portion.name: portion.weight for portion in portions}


# (questions, examples); three chunks a question but for the gold context of squad.
SIZES = {
    "gsm8k": (7473, 3 * 7473),
    "oasst1": (2100, 3 * 2100),
    "quarel": (1941, 1941),
    "squad_v2": (7500, 7500),
}
PAPER = ExamplesConfig(text_weight=0.1, dialogue_weight=0.05, num_examples=20_000)


def test_twenty_thousand_draws_meet_every_share():
    rest = 7473 + 1941 + 7500
    target = {
        "corpus text": 0.1,
        "oasst1": 0.05,
        "gsm8k": 0.85 * 7473 / rest,
        "quarel": 0.85 * 1941 / rest,
        "squad_v2": 0.85 * 7500 / rest,
    }
    portions = mixture.lm_portions(SIZES, 4000, PAPER)
    assert weights(portions) == pytest.approx(target)
    drawn = list(mixture.draw(portions, seed=0))
    assert len(drawn) == 20_000
    for part in (drawn, drawn[:4000]):  # the order is mixed, too
        found = collections.Counter(name for name, _ in part)
        for name, share in target.items():
            assert abs(found[name] / len(part) - share) < (
                0.01 if part is drawn else 0.02
            ), name


def test_a_set_is_walked_through_before_it_repeats():
    portions = [
        mixture.Portion("few", 300, 300, 0.5, 750),
        mixture.Portion("many", 900, 900, 0.5, 750),
    ]
    drawn = list(mixture.draw(portions, seed=4))
    few = collections.Counter(number for name, number in drawn if name == "few")
    assert set(few.values()) == {2, 3}
    assert len(few) == 300
    many = [number for name, number in drawn if name == "many"]
    assert len(set(many)) == len(many) == 750
    assert drawn == list(mixture.draw(portions, seed=4))
    assert drawn != list(mixture.draw(portions, seed=5))


def test_the_users_own_questions_alone_come_once():
    portions = mixture.lm_portions({mixture.OWN: (36, 72)}, 48, ExamplesConfig())
    assert portions == [mixture.Portion(mixture.OWN, 36, 72, 1.0, 72)]
    drawn = list(mixture.draw(portions, seed=0))
    assert sorted(number for _, number in drawn) == list(range(72))


def test_without_a_number_the_rest_comes_once_and_the_others_by_their_shares():
    settings = dataclasses.replace(PAPER, num_examples=0)
    portions = mixture.lm_portions(SIZES, 4000, settings)
    drawn = {portion.name: portion.num_drawn for portion in portions}
    rest = 3 * 7473 + 1941 + 7500
    assert {name: drawn[name] for name in ("gsm8k", "quarel", "squad_v2")} == {
        name: SIZES[name][1] for name in ("gsm8k", "quarel", "squad_v2")
    }
    assert drawn["corpus text"] == round(rest / 0.85 * 0.1)
    assert drawn["oasst1"] == round(rest / 0.85 * 0.05)
    total = sum(drawn.values())
    for portion in portions:
        assert portion.num_drawn / total == pytest.approx(portion.weight, abs=1e-4)


def test_dialogues_without_other_sets_share_with_text_alone():
    sizes = {"oasst1": (100, 300)}
    portions = mixture.lm_portions(
        sizes, 50, dataclasses.replace(PAPER, num_examples=0)
    )
    assert weights(portions) == pytest.approx({"corpus text": 0.1, "oasst1": 0.9})
    assert {p.name: p.num_drawn for p in portions} == {"corpus text": 33, "oasst1": 300}


def test_text_alone_is_the_corpus_once():
    portions = mixture.lm_portions({}, 50, dataclasses.replace(PAPER, num_examples=0))
    assert portions == [mixture.Portion("corpus text", 50, 50, 1.0, 50)]


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(mixture.MixtureError, match="nothing to make LM examples of"):
        mixture.lm_portions({}, 50, ExamplesConfig())


def test_sets_are_capped_but_for_dialogues_and_the_users_questions():
    settings = InstructionsConfig(lm_tasks=("gsm8k", "oasst1"))
    found = [
        *questions("", 9),
        *questions("gsm8k", 12),
        *questions("oasst1", 11),
        *questions("freebase_qa", 5),  # of D_R alone
    ]
    sets = mixture.lm_questions(found, settings, 7)
    sizes = {name: len(items) for name, items in sets.items()}
    assert sizes == {"gsm8k": 7, "oasst1": 11, mixture.OWN: 9}
    assert all(item in found for item in sets["gsm8k"])
    ids = [item.instruction.id for item in sets["gsm8k"]]
    assert ids == sorted(ids, key=lambda name: int(name.split(":")[1]))
    fewer = mixture.lm_questions(found, settings, 4)["gsm8k"]
    assert {one.instruction.id for one in fewer} < set(ids)
    assert len(mixture.lm_questions(found, settings, 0)["gsm8k"]) == 12


def test_every_validation_example_comes_once():
    portions = mixture.once({"a": (2, 6), "b": (4, 4)})
    assert weights(portions) == {"a": 0.6, "b": 0.4}
    assert len(list(mixture.draw(portions, 0))) == 10
    assert list(mixture.draw(mixture.once({}), 0)) == []


def test_retriever_shares():
    sizes = {"ms_marco": 300, mixture.OWN: 100}
    portions = mixture.retriever_portions(sizes, 900, 0.95, 10_000)
    expected = {"ms_marco": 0.0375, mixture.OWN: 0.0125, mixture.CORPUS: 0.95}
    assert weights(portions) == pytest.approx(expected)
    assert [portion.num_drawn for portion in portions] == [375, 125, 9500]
    without = mixture.retriever_portions(sizes, 0, 0.95, 100)
    assert weights(without) == {"ms_marco": 0.75, mixture.OWN: 0.25}
    assert weights(mixture.retriever_portions({}, 9, 0.95, 1)) == {mixture.CORPUS: 1.0}


def test_numbers_add_up():
    portions = mixture.retriever_portions({"a": 1, "b": 1, "c": 1}, 0, 0.0, 100)
    assert sorted(portion.num_drawn for portion in portions) == [33, 33, 34]
