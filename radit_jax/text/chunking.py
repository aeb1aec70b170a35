"""Documents cut into chunks of bounded length (paper §5)."""

import re

from radit_jax.types import Chunk, Document

_WORD = re.compile(r"\S+")


def split_words(text: str, max_words: int) -> list[tuple[int, str]]:
    """Cuts a text into the fewest pieces that have fewer than `max_words` words.

    The pieces' lengths differ by one word at most, so no document leaves a stub.
    A word is what stands between white space; scripts written without spaces need
    a segmented text.

    Example: 10 words with `max_words=5` give pieces of 3, 3 and 4 words.

    Args:
      text: any text.
      max_words: a piece has fewer words than this; at least 2.

    Returns:
      (start, piece) with `text[start : start + len(piece)] == piece`, in order; none
      for a text without words.

    Raises:
      ValueError: `max_words` leaves no word to a piece.
    """
    if max_words < 2:
        raise ValueError(
            f"a chunk must have fewer than max_words={max_words} words, so it would "
            "be empty. Set --config.corpus.max_chunk_words to 2 or more."
        )
    words = [match.span() for match in _WORD.finditer(text)]
    num_pieces = -(-len(words) // (max_words - 1))
    pieces = []
    for i in range(num_pieces):
        start = words[len(words) * i // num_pieces][0]
        end = words[len(words) * (i + 1) // num_pieces - 1][1]
        pieces.append((start, text[start:end]))
    return pieces


def chunk_document(
    document: Document, max_words: int, first_id: int = 0
) -> list[Chunk]:
    """The document's chunks, with ids from `first_id` on; see `split_words`."""
    return [
        Chunk(first_id + i, document.id, piece, document.title, start)
        for i, (start, piece) in enumerate(split_words(document.text, max_words))
    ]
