import pytest
import tokenizers

from radit_jax.text.tokenizer import LMTokenizer


@pytest.fixture(scope="session")
def byte_tokenizer():
    """One id a byte, so that lengths can be counted by eye; bos 256, eos 257."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(alphabet)}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>"])
    return LMTokenizer(backend, 256, 257)
