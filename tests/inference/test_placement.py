import pytest

from radit_jax.inference.placement import batch_rows


@pytest.mark.parametrize(
    ("num", "num_devices", "expected"),
    [(1, 1, 8), (10, 1, 10), (17, 1, 20), (60, 1, 64), (10, 8, 16), (17, 8, 24)],
)
def test_rows_of_a_batch_are_few_numbers_that_devices_share(num, num_devices, expected):
    assert batch_rows(num, 64, num_devices) == expected


def test_no_more_rows_than_a_full_batch():
    assert batch_rows(11, 12, 8) == 12
    assert len({batch_rows(num, 64, 1) for num in range(1, 65)}) == 13
