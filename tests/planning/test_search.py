import importlib.util

import jax
import pytest

from radit_jax import chips
from radit_jax.config import ConfigError
from radit_jax.planning import search, topology

CORPUS = search.Corpus(
    num_chunks=100_000,
    width=64,
    is_bfloat16=True,
    batch_size=32,
    num_candidates=50,
)
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed: pip install 'radit_jax[tpu]'",
)


def test_walls_by_hand():
    corpus = search.Corpus(1_000_000, 512, True, 100, 50)
    chip = chips.Chip("x", 1e9, 1e11, 1e10, 1e13)
    walls = search._walls(corpus, chip, 4)
    assert walls["memory"] == pytest.approx(250_000 * 512 * 2 / 1e11)
    assert walls["arithmetic"] == pytest.approx(2 * 100 * 250_000 * 512 / 1e13)
    assert walls["links"] == pytest.approx(3 * 100 * 50 * 8 / 1e10)


def test_float32_needs_more_of_everything():
    exact = search.Corpus(1_000_000, 512, False, 100, 50)
    rounded = search.Corpus(1_000_000, 512, True, 100, 50)
    chip = chips.CHIPS["v5e"]
    one, other = search._walls(exact, chip, 4), search._walls(rounded, chip, 4)
    assert one["memory"] == pytest.approx(2 * other["memory"])
    assert one["arithmetic"] == pytest.approx(6 * other["arithmetic"])


def test_compiles_for_devices_by_their_description():
    compiled = search.compile_for(CORPUS, jax.devices())
    held = compiled.memory_analysis().argument_size_in_bytes
    assert held == pytest.approx(100_000 * 64 * 2 / len(jax.devices()), rel=0.1)


@needs_libtpu
def test_a_plan_for_a_slice():
    plan = search.plan(CORPUS, "v5e:2x2")
    assert plan["chips"] == 4
    assert plan["temporary_bytes"] < plan["argument_bytes"]  # no copy of the rows


@needs_libtpu
def test_a_corpus_that_does_not_fit():
    corpus = search.Corpus(399_000_000, 768, True, 32, 50)
    with pytest.raises(ConfigError, match="does not fit 4 devices .* larger slice"):
        search.plan(corpus, "v5e:2x2")


@needs_libtpu
def test_a_shape_that_is_not_sold():
    with pytest.raises(ConfigError, match=r"libtpu knows no slice 'v5e:3x5'"):
        topology.devices("v5e:3x5")


@pytest.mark.parametrize("slice_", ["v5e", "v9:4x4", "v5e:4xa", "v5e:0x4", ""])
def test_what_is_no_slice(slice_):
    with pytest.raises(ConfigError, match="is no slice; give a chip of"):
        topology.chip_of(slice_)


def test_without_libtpu(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'radit_jax\[tpu\]'"):
        topology.devices("v5e:2x2")
