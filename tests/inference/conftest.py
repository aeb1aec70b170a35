import pytest

from radit_jax.inference.sampler import Sampler

from .reference import EOS, make_decoder


@pytest.fixture(scope="package")
def decoder():
    return make_decoder()


@pytest.fixture(scope="package")
def sampler(decoder):
    return Sampler(decoder, eos_id=EOS)
