import numpy as np
import pytest

from radit_jax.inference.sampler import Sampler

from .reference import EOS, NEWLINE, VOCAB, make_decoder


@pytest.fixture(scope="package")
def decoder():
    return make_decoder()


@pytest.fixture(scope="package")
def sampler(decoder):
    stop = np.arange(VOCAB) == NEWLINE
    return Sampler(decoder, eos_id=EOS, stop_mask=stop, max_new_tokens=7)
