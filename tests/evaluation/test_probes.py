"""What a probe asks, on a chunk store of six, and what its answers come to."""

import pytest

from radit_jax.corpus import store
from radit_jax.evaluation import probe_results, probes
from radit_jax.types import Chunk, Instruction, Retrieved

TEXTS = ("Pell won.", "Isk lost.", "Pell sings.", "Rain fell.", "Snow fell.", "Pell")
FOUND = Retrieved(
    Instruction("q1", "who won", ("Pell",), ("d2",)), (5, 0, 1), (3.0, 2.0, 1.0)
)


@pytest.fixture
def chunks(tmp_path):
    made = [Chunk(i, f"d{i}", text) for i, text in enumerate(TEXTS)]
    store.write_chunks(tmp_path, made)
    return store.ChunkStore(tmp_path)


def test_depths_keep_the_best_and_leave_out_what_was_not_retrieved():
    asked = probes.depths(FOUND, (0, 1, 3, 10))
    assert list(asked) == ["k=0", "k=1", "k=3"]
    assert asked["k=0"].chunk_ids == asked["k=0"].scores == ()
    assert (asked["k=1"].chunk_ids, asked["k=1"].scores) == ((5,), (3.0,))
    assert asked["k=3"].instruction is FOUND.instruction


def test_the_right_passage_is_of_the_named_document_even_where_it_was_not_found(chunks):
    (asked,) = probes.passages([FOUND], chunks, seed=0)
    assert list(asked) == ["none", "right", "random"]
    assert asked["right"].chunk_ids == (2,)
    assert asked["none"].chunk_ids == ()
    # Neither of document d2 nor with the answer in it.
    assert asked["random"].chunk_ids[0] in (1, 3, 4)
    drawn = {
        probes.passages([FOUND], chunks, s)[0]["random"].chunk_ids for s in range(9)
    }
    assert len(drawn) > 1
    assert probes.passages([FOUND], chunks, seed=0) == [asked]


def test_without_named_documents_the_best_chunk_with_the_answer_is_right(chunks):
    unnamed = Retrieved(Instruction("q2", "who", ("Pell",)), (3, 0, 5), (1.0,) * 3)
    (asked,) = probes.passages([unnamed], chunks, seed=0)
    assert asked["right"].chunk_ids == (0,)


def test_questions_without_a_right_passage_are_left_out(chunks):
    elsewhere = Retrieved(Instruction("q3", "who", ("Ada",), ("d1",)), (0,), (1.0,))
    assert probes.passages([elsewhere], chunks, seed=0) == []


def _record(answer, name="q1", chunk_ids=(0,), **fields):
    return {
        "id": name,
        "answer": answer,
        "answers": ["Pell"],
        "positives": ["d2"],
        "chunk_ids": list(chunk_ids),
        "num_prompt_tokens": 30,
        "num_answer_tokens": 2,
        "num_truncated": 0,
    } | fields


def test_systems_are_split_by_whether_the_gold_passage_was_read(chunks):
    records = [_record("Pell", "q1", (2,)), _record("Isk", "q2"), _record("Pell", "q3")]
    records.append(_record("Pell", "q4", positives=[]))
    lines = {"ra_it": {"base": records}, "base": {"none": records}}
    (row,) = probe_results.by_gold(lines, chunks, (50, 0))
    assert row["name"] == "RA-IT"
    assert row["found"]["num_questions"] == 1
    assert row["found"]["em"]["value"] == 100.0
    assert row["missed"]["num_questions"] == 2
    assert row["missed"]["em"]["value"] == 50.0


def test_a_probe_s_differences_are_of_the_same_questions():
    right, wrong = _record("Pell"), _record("Isk")
    ensemble = {"k=0": [wrong], "k=3": [wrong, _record("Pell", "q2")]}
    together = {"k=0": [wrong], "k=3": [_record("Pell", "q2"), right]}
    passages = {"none": [wrong], "right": [right], "random": [wrong]}
    found = probe_results.probe_results(
        {
            "depth": {"ra_it": ensemble},
            "concatenate": {"ra_it": together},
            "passages": {"base": passages},
        },
        (50, 0),
    )
    (row,) = found["together"]
    assert (row["lm"], row["name"], row["num_questions"]) == ("ra_it", "k=3", 2)
    assert row["em"]["value"] == 50.0
    assert found["effects"]["base"]["right"]["em"]["value"] == 100.0
    assert found["effects"]["base"]["random"]["em"]["value"] == 0.0
    assert [r["name"] for r in found["depth"]["ra_it"]] == ["k=0", "k=3"]
    assert found["depth"]["ra_it"][1]["em"]["value"] == 50.0
    assert found["depth"]["ra_it"][1]["num_prompt_tokens"] == 30.0


def test_cost_is_counted_for_a_question():
    lines = {"base": {"none": [_record("a"), _record("b", num_prompt_tokens=50)]}}
    (row,) = probe_results.cost(lines, {"base": 8.0})
    assert row["num_prompt_tokens"] == 40.0
    assert row["num_answer_tokens"] == 2.0
    assert row["lm_seconds_per_question"] == 4.0
    old = {"base": {"none": [{"answer": "a"}]}}
    assert probe_results.cost(old, {"base": 8.0})[0]["num_prompt_tokens"] is None
