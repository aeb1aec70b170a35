import json

from radit_jax.types import Chunk, Instruction, Retrieved


def test_retrieved_survives_json():
    instruction = Instruction("q1", "Who?", ("He", "him"), ("doc",), 7)
    found = Retrieved(instruction, (3, 1), (0.5, -2.0))
    record = json.loads(json.dumps(found.to_record()))
    assert record["question"] == "Who?"
    assert Retrieved.from_record(record) == found


def test_a_passage_has_its_title():
    assert Chunk(0, "d", "A text.", "Paris").passage == "Paris: A text."
    assert Chunk(0, "d", "A text.").passage == "A text."
