"""Documents cut into chunks of bounded length (paper §5)."""

import functools
import re

from radit_jax.types import Chunk, Document


def split_words(text: str, max_words: int, min_words: int = 1) -> list[tuple[int, str]]:
    """Cuts a text into the fewest pieces that have fewer than `max_words` words.

    The pieces' lengths differ by one word at most, so no document leaves a stub.
    A word is what stands between white space; scripts written without spaces need
    a segmented text.

    Example: 10 words with `max_words=5` give pieces of 3, 3 and 4 words.

    Args:
      text: any text.
      max_words: a piece has fewer words than this; at least 2.
      min_words: a piece has as many at least; at most half of `max_words`, for the
        shortest text that needs two pieces has no longer halves.

    Returns:
      (start, piece) with `text[start : start + len(piece)] == piece`, in order; none
      for a text of fewer than `min_words` words.

    Raises:
      ValueError: there are lengths that can't be cut so.
    """
    min_words = max(min_words, 1)
    if max_words < 2 * min_words:
        raise ValueError(
            f"chunks of fewer than max_words={max_words} and at least "
            f"min_words={min_words} words can't be cut from every text. Set "
            "--config.corpus.max_chunk_words (of web text, max_web_chunk_words) to "
            f"{2 * min_words} or more, or lower --config.corpus.min_chunk_words."
        )
    num_words = len(text.split())
    if num_words < min_words:
        return []
    if num_words < max_words:  # most passages: much the fastest way
        return [(len(text) - len(text.lstrip()), text.strip())]
    num_pieces = -(-num_words // (max_words - 1))
    pieces, end = [], 0
    for i in range(num_pieces):
        length = num_words * (i + 1) // num_pieces - num_words * i // num_pieces
        start, end = _words(length).match(text, end).span(1)
        pieces.append((start, text[start:end]))
    return pieces


def chunk_document(
    document: Document, max_words: int, first_id: int = 0, min_words: int = 1
) -> list[Chunk]:
    """The chunks of a document or section, with ids from `first_id` on.

    None of one with fewer than `min_words` words, which the caller counts; of any
    other, every word is in a chunk. See `split_words`.
    """
    return [
        Chunk(first_id + i, document.id, piece, document.title, start, document.section)
        for i, (start, piece) in enumerate(
            split_words(document.text, max_words, min_words)
        )
    ]


@functools.cache
def _words(number: int) -> re.Pattern[str]:
    """Matches white space, then so many words; possessive, as it never goes back."""
    return re.compile(rf"\s*+(\S++(?:\s++\S++){{{number - 1}}}+)")
