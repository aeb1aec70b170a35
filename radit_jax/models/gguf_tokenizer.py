"""A tokenizer built from the vocabulary and merges in a GGUF file's metadata."""

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre

from radit_jax.models.weights import CheckpointError
from radit_jax.text.tokenizer import LMTokenizer

_PREFIX = "tokenizer.ggml."
_CONTROL, _USER_DEFINED = 3, 4  # of llama.cpp's token types

# The published tokenizers' own patterns; they differ in how many digits go together.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _gpt2() -> pre.PreTokenizer:
    return pre.ByteLevel(add_prefix_space=False)


def _smollm() -> pre.PreTokenizer:
    return pre.Sequence([pre.Digits(individual_digits=True), _gpt2()])


def _split(digits: str) -> pre.PreTokenizer:
    words = pre.Split(Regex(_WORDS % digits), behavior="isolated")
    bytes_only = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre.Sequence([words, bytes_only])


_PRE_TOKENIZERS = {
    "gpt-2": _gpt2,
    "smollm": _smollm,
    "llama-bpe": lambda: _split("{1,3}"),
    "qwen2": lambda: _split(""),
}


def build(metadata: Mapping[str, Any], where: str) -> LMTokenizer:
    """Builds the byte-level BPE tokenizer that `metadata` describes.

    Args:
      metadata: the file's `tokenizer.ggml.*` fields.
      where: the file, for errors.

    Raises:
      CheckpointError: for another kind of tokenizer, or missing fields.
    """
    fields = {name.removeprefix(_PREFIX): value for name, value in metadata.items()}
    _check(fields, where)
    backend = Tokenizer(_bpe(fields))
    backend.pre_tokenizer = _PRE_TOKENIZERS[fields["pre"]]()
    backend.decoder = decoders.ByteLevel()
    if fields["pre"] == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.add_tokens(_added(fields))
    return LMTokenizer(
        backend,
        fields.get("bos_token_id"),
        fields["eos_token_id"],
        len(fields["tokens"]),
    )


def _check(fields: Mapping[str, Any], where: str) -> None:
    model, kind = fields.get("model"), fields.get("pre")
    if model != "gpt2" or kind not in _PRE_TOKENIZERS:
        raise CheckpointError(
            f"{where} has a tokenizer of model {model!r} with pre-tokenizer {kind!r}; "
            f"supported here: 'gpt2' with {sorted(_PRE_TOKENIZERS)}. Use the model's "
            "Hugging Face directory instead."
        )
    needed = ("tokens", "token_type", "merges", "eos_token_id")
    missing = [_PREFIX + name for name in needed if name not in fields]
    if missing:
        raise CheckpointError(f"{where} lacks {missing}; convert the model again.")


def _bpe(fields: Mapping[str, Any]) -> models.BPE:
    return models.BPE(
        vocab={token: i for i, token in enumerate(fields["tokens"])},
        # A merge's two sides hold no space: byte-level tokens write it as "Ġ".
        merges=[tuple(merge.split(" ", 1)) for merge in fields["merges"]],
        ignore_merges=fields["pre"] == "llama-bpe",
    )


def _added(fields: Mapping[str, Any]) -> list[AddedToken]:
    return [
        AddedToken(token, special=kind == _CONTROL, normalized=False)
        for token, kind in zip(fields["tokens"], fields["token_type"], strict=True)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
