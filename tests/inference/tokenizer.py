"""A tokenizer of letters, for the tiny decoder of `reference`, and its stops."""

import numpy as np
import tokenizers

from radit_jax.inference.decoding import Decoding
from radit_jax.inference.stops import Stops
from radit_jax.text.tokenizer import LMTokenizer

from .reference import EOS, VOCAB

LETTERS = [chr(i) for i in range(ord("A"), ord("z") + 1)]


def make_tokenizer(eos_id=EOS):
    names = ["<pad>", "<s>", "</s>", "Ġ", ".", "Ċ", *LETTERS]
    vocab = {name: i for i, name in enumerate(names[:VOCAB])}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(names[:3])
    return LMTokenizer(backend, bos_id=1, eos_id=eos_id)


TOKENIZER = make_tokenizer()
DECODING = Decoding(7, Stops(TOKENIZER, VOCAB))  # to a newline


def decoding(max_tokens=7, stop=()):
    """Stopped by these tokens."""
    stops = Stops(TOKENIZER, VOCAB, ())
    stops.mask[:] = np.isin(np.arange(VOCAB), stop)
    return Decoding(max_tokens, stops)
