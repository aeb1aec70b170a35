import pathlib

import pytest

from radit_jax.planning import hlo

# As XLA prints it, cut down: a loop of 32 turns with a gather that is spread over two
# fusions, a reduce-scatter as a TPU has it, and outside of it an all-reduce.
TEXT = pathlib.Path(__file__).with_name("step.hlo").read_text()


def test_collectives_in_loops_count_as_often_as_the_loop_goes_round():
    found = {one.kind: one for one in hlo.Program(TEXT).collectives()}
    assert len(hlo.Program(TEXT).collectives()) == 3
    # Three fourths of the result reach a chip: 8 · 128 bfloat16 in all.
    assert found["all-gather"] == hlo.Collective("all-gather", 2048 * 0.75, 32)
    assert found["reduce-scatter"] == hlo.Collective("reduce-scatter", 4096 * 0.75, 32)
    assert found["all-reduce"] == hlo.Collective("all-reduce", 2 * 128 * 0.75, 1)


def test_traffic_counts_slices_and_leaves_out_what_is_on_the_chip():
    # In the loop only the layer's slice, 1,024 bytes, and the counter; then `y` written
    # and read, and the total written.
    assert hlo.Program(TEXT).hbm_bytes() == 32 * (1024 + 4) + 3 * 128


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("replica_groups={{0,1,2},{3,4,5}}", 3),
        ("replica_groups=[8,4]<=[4,8]T(1,0)", 4),
        ("replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0','axis_1'}", 8),
        ("source_target_pairs={{0,1},{1,2}}", 2),
    ],
)
def test_group_sizes(groups, size):
    assert hlo._group_size(f"%x), channel_id=1, {groups}, to_apply=%add") == size


def test_loops_without_a_constant_limit_count_once():
    text = TEXT.replace("%limit = s32[]{:T(128)} constant(32)", "%limit = s32[] add()")
    assert {one.times for one in hlo.Program(text).collectives()} == {1}
    assert hlo.Program(text).num_open_loops() == 1
    assert hlo.Program(TEXT).num_open_loops() == 0
