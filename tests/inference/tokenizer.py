"""A tokenizer of letters, for the tiny decoder of `reference`."""

import tokenizers

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
