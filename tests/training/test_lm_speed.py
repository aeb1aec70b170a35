import jax.numpy as jnp
import pytest

from radit_jax.models import flops
from radit_jax.testing import toy
from radit_jax.training import lm_speed, peaks


def test_padding_is_no_token():
    batch = {
        "segment_ids": jnp.array([[1, 1, 1, 2, 2, 0, 0, 0]]),
        "positions": jnp.array([[0, 1, 2, 0, 1, 0, 0, 0]]),
    }
    counts = {k: float(v) for k, v in lm_speed.count_tokens(batch).items()}
    assert counts == {
        "tokens": 5,
        "useful_token_share": 5 / 8,
        "seen_tokens": pytest.approx((1 + 2 + 3 + 1 + 2) / 5),
    }


@pytest.mark.parametrize(("trains_adapters", "passes"), [(False, 3), (True, 2)])
def test_flops_of_a_step(monkeypatch, trains_adapters, passes):
    monkeypatch.setattr(peaks, "of_all_devices", lambda: 1e9)
    config = toy.decoder(40).config
    speed = lm_speed.speedometer(config, trains_adapters)
    metrics = {"tokens": 100.0, "weight": 20.0, "seen_tokens": 7.0}
    forward = flops.decoder_forward(config, 100.0, 20.0, 7.0)
    assert speed.flops(metrics) == passes * forward
    assert speed.peak_flops_per_second == 1e9
