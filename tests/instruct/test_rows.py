"""Rows on disk: what was written is read, at any place."""

import dataclasses

import numpy as np
import pytest

from radit_jax.instruct import packing, rows
from radit_jax.instruct.packing import Example, PackingError


def packed(num):
    """Row i holds an example of 3 + i tokens, the last 2 + i of them targets."""
    examples = (
        Example(str(i), list(range(10 * i, 10 * i + 3 + i)), 1) for i in range(num)
    )
    return packing.pack(examples, row_tokens=16, lookahead=1)


def test_rows_are_read_back_at_any_place(tmp_path):
    expected = [row.arrays(16, 16) for row in packed(9)]
    written = rows.write_rows(tmp_path / "rows", packed(9), 16)
    record = written.to_record()
    assert record == {
        "row_tokens": 16,
        "rows": len(expected),
        "tokens": sum(range(3, 12)),
        "target_slots": 16,  # of the fullest row, rounded up to eight
        "real_token_share": round(63 / (16 * len(expected)), 4),
    }
    counts = rows.RowCounts.from_record(record | {"examples": 9})
    store = rows.RowStore(tmp_path / "rows", counts)
    assert len(store) == len(expected)
    for place in (3, 0, len(store) - 1):
        for name, array in expected[place].items():
            np.testing.assert_array_equal(store[place][name], array, strict=True)
    assert store.empty["target_mask"].shape == (16,)


def test_no_rows(tmp_path):
    counts = rows.write_rows(tmp_path / "rows", iter(()), 16)
    assert (counts.rows, counts.real_token_share) == (0, 1.0)
    assert len(rows.RowStore(tmp_path / "rows", counts)) == 0


def test_a_row_that_is_not_there(tmp_path):
    counts = rows.write_rows(tmp_path / "rows", packed(2), 16)
    with pytest.raises(IndexError, match="row 2 is not in .*rows, of 1"):
        rows.RowStore(tmp_path / "rows", counts)[2]


def test_no_file_is_an_error(tmp_path):
    with pytest.raises(PackingError, match="no rows .*absent. Run build_examples"):
        rows.RowStore(tmp_path / "absent", rows.RowCounts(16))


def test_a_file_of_other_rows_is_an_error(tmp_path):
    counts = rows.write_rows(tmp_path / "rows", packed(5), 16)
    more = dataclasses.replace(counts, rows=counts.rows + 1)
    match = f"damaged: {counts.rows} of {more.rows} rows can be read. Delete their"
    with pytest.raises(PackingError, match=match):
        rows.RowStore(tmp_path / "rows", more)


def test_a_broken_record_is_an_error(tmp_path):
    counts = rows.write_rows(tmp_path / "rows", packed(5), 16)
    content = bytearray((tmp_path / "rows").read_bytes())
    content[80:160] = bytes(80)  # in the first record; the index is at the end
    (tmp_path / "rows").write_bytes(content)
    store = rows.RowStore(tmp_path / "rows", counts)
    with pytest.raises(PackingError, match="are damaged: .*Delete their folder"):
        store[0]
