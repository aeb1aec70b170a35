"""Probes: dev questions asked again, with other passages than the systems had.

They answer what the six systems leave open: how much k matters, whether passages are
better weighed (Eq. 2) or read together, whether an LM uses a right passage, and
whether it resists a wrong one.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation import right_chunks
from radit_jax.types import Chunk, Instruction, Retrieved

KINDS = ("depth", "concatenate", "passages")
PASSAGES = ("none", "right", "random")
_DRAWS = 100  # of a random chunk, until one is wrong


def depths(found: Retrieved, ks: Iterable[int]) -> dict[str, Retrieved]:
    """The k best chunks for each k, by the name "k=3"; those too deep are left out."""
    return {
        f"k={k}": Retrieved(found.instruction, found.chunk_ids[:k], found.scores[:k])
        for k in ks
        if k <= len(found.chunk_ids)
    }


def passages(
    found: Sequence[Retrieved], store: ChunkStore, seed: int
) -> list[dict[str, Retrieved]]:
    """No chunk, a right one and a random wrong one, for each question that has both.

    Right is a chunk that holds an accepted answer, of a document that the question
    names where it names any. The random one is not right, and holds no answer.

    Args:
      found: the questions, with what was retrieved: searched first for a right chunk.
      store: the corpus. It is read through where what was retrieved does not do.
      seed: of the random chunks; each depends on its question's id alone.
    """
    right = _right_chunks(found, store)
    asked = []
    for item in found:
        instruction = item.instruction
        wrong = _random_wrong(instruction, store, seed)
        if instruction.id in right and wrong is not None:
            chunks = {"none": (), "right": (right[instruction.id],), "random": (wrong,)}
            asked.append(
                {
                    name: Retrieved(
                        instruction, chunks[name], (0.0,) * len(chunks[name])
                    )
                    for name in PASSAGES
                }
            )
    return asked


def _is_right(instruction: Instruction, chunk: Chunk) -> bool:
    named = not instruction.positives or right_chunks.is_of_positive(instruction, chunk)
    return named and right_chunks.holds_answer(instruction, chunk)


def _right_chunks(found: Sequence[Retrieved], store: ChunkStore) -> dict[str, int]:
    """Question id → chunk id; questions without a right chunk are missing."""
    right: dict[str, int] = {}
    for item in found:
        chunks = store.get_many(item.chunk_ids)
        ids = [chunk.id for chunk in chunks if _is_right(item.instruction, chunk)]
        right |= {item.instruction.id: ids[0]} if ids else {}
    by_document: dict[str, list[Instruction]] = {}
    for item in found:
        if item.instruction.id not in right:
            for name in item.instruction.positives:
                by_document.setdefault(name, []).append(item.instruction)
    if by_document:
        for chunk in store:
            for instruction in by_document.get(chunk.document_id, ()):
                if _is_right(instruction, chunk):
                    right.setdefault(instruction.id, chunk.id)
    return right


def _random_wrong(instruction: Instruction, store: ChunkStore, seed: int) -> int | None:
    digest = hashlib.sha256(f"{seed}:{instruction.id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    for _ in range(_DRAWS):
        chunk = store[int(rng.integers(len(store)))]
        if not (
            right_chunks.is_of_positive(instruction, chunk)
            or right_chunks.holds_answer(instruction, chunk)
        ):
            return chunk.id
    return None
