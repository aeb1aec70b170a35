import pytest

from radit_jax.models import gguf, gguf_tokenizer
from radit_jax.models.weights import CheckpointError

from . import gguf_files


def build(**changes):
    return gguf_tokenizer.build(gguf_files.tokenizer_fields(**changes), "file.gguf")


def tokens_of(tokenizer, text):
    return [gguf_files.TOKENS[i] for i in tokenizer.encode(text)]


def test_a_file_gives_its_tokenizer(tmp_path):
    fields = gguf_files.tokenizer_fields()
    path = gguf_files.write(tmp_path / "model.gguf", "llama", fields, {})
    tokenizer = gguf.load_tokenizer(path)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, 1)
    assert tokenizer.vocab_size == len(gguf_files.TOKENS)
    assert tokens_of(tokenizer, "hello hell") == ["hell", "o", "Ġhell"]
    assert tokenizer.decode(tokenizer.encode("hello\n hell")) == "hello\n hell"


@pytest.mark.parametrize(
    ("pre", "expected"),
    [
        ("smollm", ["1", "2", "1"]),
        ("gpt-2", ["12", "1"]),
        ("llama-bpe", ["12", "1"]),
        ("qwen2", ["1", "2", "1"]),
    ],
)
def test_pre_tokenizers_differ_in_their_digits(pre, expected):
    assert tokens_of(build(pre=pre), "121") == expected


def test_llama3_keeps_no_more_than_three_digits_together():
    assert tokens_of(build(pre="llama-bpe"), "0012") == ["0", "0", "1", "2"]
    assert tokens_of(build(pre="gpt-2"), "0012") == ["0", "0", "12"]


def test_special_tokens_are_left_out_of_decoded_text():
    tokenizer = build()
    assert tokenizer.decode([0, *tokenizer.encode("hell"), 1]) == "hell"


def test_a_file_without_bos_has_none():
    assert build(bos_token_id=None).bos_id is None


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model": "llama", "pre": None}, "model 'llama' with pre-tokenizer None"),
        ({"pre": "tekken"}, "pre-tokenizer 'tekken'; supported here: 'gpt2' with"),
        ({"merges": None}, r"lacks \['tokenizer\.ggml\.merges'\]"),
        ({"eos_token_id": None}, r"lacks \['tokenizer\.ggml\.eos_token_id'\]"),
    ],
)
def test_other_tokenizers_are_refused(changes, match):
    with pytest.raises(CheckpointError, match=match):
        build(**changes)
