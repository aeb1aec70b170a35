"""Tokenizers: the LM's, which encodes segments, and the encoder's, which pads batches.

A prompt is a concatenation of separately encoded segments, so a segment's ids must
not depend on its neighbours: no bos, no eos, and no space that SentencePiece would
put before a text. `_segment_form` takes those habits out of a tokenizer.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from etils import epath
from jaxtyping import Bool, Int

from radit_jax.text import tokenizer_files
from radit_jax.text.tokenizer_files import TokenizerError

_PROBE = ("Background: a  word.\n\n", "Q: who, 1990?\nA:", " No one")


class LMTokenizer:
    """A language model's tokenizer, without the habits that tie segments together.

    For all texts `s`, `t`: `decode(encode(s) + encode(t)) == s + t`. Text that looks
    like a special token ("</s>" in a document) is encoded as plain text.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        bos_id: int | None,
        eos_id: int,
        vocab_size: int | None = None,
        files: Mapping[str, bytes] | None = None,
    ):
        """Takes `backend` as it is published; it is copied, never changed.

        Args:
          backend: any lossless tokenizer: byte-level BPE, or SentencePiece's BPE.
          bos_id: opens every example; None where the model has none.
          eos_id: closes every example.
          vocab_size: highest id + 1; None takes the backend's.
          files: the publisher's tokenizer files, which `save` then repeats.
        """
        self.bos_id, self.eos_id = bos_id, eos_id
        self.vocab_size = vocab_size or tokenizer_files.vocab_size(backend)
        self._published = backend.to_str()
        self._files = dict(files or {})
        self._backend = tokenizers.Tokenizer.from_str(
            json.dumps(_segment_form(json.loads(self._published)))
        )
        self._backend.encode_special_tokens = True

    @classmethod
    def from_directory(cls, path: epath.PathLike) -> "LMTokenizer":
        """Opens a Hugging Face directory.

        Raises:
          TokenizerError: no tokenizer, no end-of-sequence token, or text is lost.
        """
        directory = epath.Path(path)
        backend, files = tokenizer_files.open_backend(directory)
        bos_id = tokenizer_files.special_id(directory, backend, "bos")
        eos_id = tokenizer_files.special_id(directory, backend, "eos")
        if eos_id is None:
            raise TokenizerError(
                f"the tokenizer in {directory} names no end-of-sequence token. "
                "Add 'eos_token' to its tokenizer_config.json."
            )
        tokenizer = cls(backend, bos_id, eos_id, files=files)
        tokenizer.check_lossless()
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of one segment: neither bos nor eos, no space put before it."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Characters [start, end) of `text` behind each id of `encode(text)`."""
        return self._backend.encode(text, add_special_tokens=False).offsets

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special tokens are left out."""
        return self._backend.decode(list(ids), skip_special_tokens=True)

    def check_lossless(self) -> None:
        """Checks that segments decode to the text they came from.

        Raises:
          TokenizerError: they do not, e.g. for an uncased (BERT) tokenizer.
        """
        decoded = self.decode([i for text in _PROBE for i in self.encode(text)])
        if decoded != "".join(_PROBE):
            raise TokenizerError(
                f"this tokenizer turns {''.join(_PROBE)!r} into {decoded!r}: text is "
                "lost, so it can't serve a generating LM. Point --config.lm.path at a "
                "model with a byte-level or SentencePiece BPE tokenizer."
            )

    def save(self, directory: epath.PathLike) -> None:
        """Writes files that `transformers.AutoTokenizer` opens: the published form."""
        backend = tokenizers.Tokenizer.from_str(self._published)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None
            if self.bos_id is None
            else backend.id_to_token(self.bos_id),
            "eos_token": backend.id_to_token(self.eos_id),
            "clean_up_tokenization_spaces": False,
        }
        tokenizer_files.save(
            epath.Path(directory), self._published, config, self._files
        )


class EncoderTokenizer:
    """A BERT-style tokenizer: `[CLS] text [SEP]`, cut and padded."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        pad_id: int = 0,
        files: Mapping[str, bytes] | None = None,
    ):
        """Takes `backend` as it is published; it is copied, never changed.

        Args:
          backend: its post-processor puts the special tokens.
          pad_id: fills the masked places.
          files: the publisher's tokenizer files, which `save` then repeats.
        """
        self.pad_id = pad_id
        self.vocab_size = tokenizer_files.vocab_size(backend)
        self._published = backend.to_str()
        self._files = dict(files or {})
        self._backend = tokenizers.Tokenizer.from_str(self._published)
        # A published file may pad every text to 128 ids; the batch decides here.
        self._backend.no_padding()

    @classmethod
    def from_directory(cls, path: epath.PathLike) -> "EncoderTokenizer":
        """Opens a Hugging Face directory.

        Raises:
          TokenizerError: no tokenizer there, or no padding token.
        """
        directory = epath.Path(path)
        backend, files = tokenizer_files.open_backend(directory)
        pad_id = tokenizer_files.special_id(directory, backend, "pad")
        if pad_id is None:
            raise TokenizerError(
                f"the tokenizer in {directory} names no padding token. "
                "Add 'pad_token' to its tokenizer_config.json."
            )
        return cls(backend, pad_id, files)

    def encode_batch(
        self, texts: Sequence[str], max_tokens: int
    ) -> tuple[Int[np.ndarray, "b p"], Bool[np.ndarray, "b p"]]:
        """Encodes texts, each cut to `max_tokens` with its special tokens kept.

        Returns:
          int32 ids, padded to the longest, and the mask: True at real tokens.
        """
        self._backend.enable_truncation(max_tokens)
        rows = [encoding.ids for encoding in self._backend.encode_batch(list(texts))]
        lengths = np.array([len(row) for row in rows], np.int32)
        mask = np.arange(max(lengths, default=0)) < lengths[:, None]
        ids = np.full(mask.shape, self.pad_id, np.int32)
        ids[mask] = [i for row in rows for i in row]
        return ids, mask

    def save(self, directory: epath.PathLike) -> None:
        """Writes files that `transformers.AutoTokenizer` opens: the published form."""
        backend = tokenizers.Tokenizer.from_str(self._published)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": backend.id_to_token(self.pad_id),
        }
        tokenizer_files.save(
            epath.Path(directory), self._published, config, self._files
        )


def _segment_form(spec: dict[str, Any]) -> dict[str, Any]:
    """`tokenizer.json` without bos, prefix space, truncation and padding."""
    spec = copy.deepcopy(spec)
    spec["truncation"] = spec["padding"] = spec["post_processor"] = None
    spec["normalizer"] = _rebuild(spec["normalizer"], "normalizers")
    spec["pre_tokenizer"] = _rebuild(spec["pre_tokenizer"], "pretokenizers")
    spec["decoder"] = _rebuild(spec["decoder"], "decoders")
    return spec


def _rebuild(part: dict[str, Any] | None, children: str) -> dict[str, Any] | None:
    """One part of a `tokenizer.json`, and its children, without the prefix space."""
    if part is None or part["type"] == "Prepend":
        return None
    if part["type"] == "Strip" and children == "decoders":
        return None  # the decoder's side of Prepend: it would eat a real space
    if part["type"] == "Sequence":
        kept = [_rebuild(child, children) for child in part[children]]
        kept = [child for child in kept if child is not None]
        return part | {children: kept} if kept else None
    if part["type"] == "Metaspace":
        return part | {"prepend_scheme": "never"}
    if part["type"] == "ByteLevel":
        return part | {"add_prefix_space": False}
    return part
