"""Embedder: texts to embeddings, in batches of few shapes and equally many tokens."""

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from radit_jax.models.dual_encoder import Tower
from radit_jax.models.encoder import Encoder

T = TypeVar("T")

# A batch's length is a multiple of the first, or of the second where it is long:
# every length is a shape to compile, and every token of padding is work for nothing.
_SHORT_MULTIPLE, _LONG_MULTIPLE = 16, 64  # tokens
_LONG = 256  # tokens

# Tokens that one device takes together. A CPU's caches hold the activations of so
# many: 8,192 take 1.2 times as long each in float32, and 1.5 times in bfloat16.
_CPU_TOKENS, ACCELERATOR_TOKENS = 1024, 32_768


def full_rows(tokens: int, length: int, num_devices: int) -> int:
    """Texts of a length in a batch of about so many tokens, equally many a device."""
    return max(tokens // (length * num_devices), 1) * num_devices


class Embedder:
    """A tower's parameters on this process' devices, and its compiled forward pass."""

    def __init__(self, tower: Tower):
        """Copies the parameters to every device of this process.

        Args:
          tower: the query or the passage tower.
        """
        devices = jax.local_devices()
        mesh = Mesh(np.asarray(devices), ("data",))
        self._num_devices = mesh.size
        on_cpu = devices[0].platform == "cpu"
        self._device_tokens = _CPU_TOKENS if on_cpu else ACCELERATOR_TOKENS
        self._batch_sharding = NamedSharding(mesh, PartitionSpec("data"))
        graphdef, params = nnx.split(tower.encoder)
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._params = jax.device_put(params, self._replicated)
        self._forward = jax.jit(functools.partial(tower.embed, graphdef))
        self._tower = tower

    def replace_encoder(self, encoder: Encoder) -> None:
        """Goes on with another encoder of the same shape, by the same programs.

        Args:
          encoder: for instance the tower's own after more training.
        """
        params = nnx.split(encoder)[1]
        self._params = jax.device_put(params, self._replicated)

    def embed(self, texts: list[str], batch_size: int = 0) -> Float[np.ndarray, "n e"]:
        """Embeds texts.

        The same texts give the same bits; beside other texts, padded to another
        length, a text's numbers may differ by a rounding.

        Args:
          texts: at least one; the tower puts its prefix before each.
          batch_size: texts of `tower.max_tokens` that run together. Of shorter ones
            more do, so that a batch has as many tokens. 0: as suits the devices.

        Returns:
          One float32 row a text, in the order given.

        Raises:
          ValueError: no texts.
        """
        [matrix] = self.embed_groups([texts], batch_size)
        return matrix

    def embed_groups(
        self,
        groups: Iterable[list[str]],
        batch_size: int = 0,
        on_rows: Callable[[int], Any] | None = None,
    ) -> Iterator[Float[np.ndarray, "n e"]]:
        """`embed` of a group after the other; no batch has texts of two groups.

        The next group is read from `groups` and tokenised in a thread meanwhile, and
        the devices have a batch to work on while another is fetched.

        Args:
          groups: each with at least one text.
          batch_size: see `embed`.
          on_rows: called with the number of texts after each batch.
        """
        matrix, num_missing = np.empty((0, 0)), 0
        for num_texts, rows, output in _one_behind(self._dispatch(groups, batch_size)):
            if not num_missing:
                matrix = np.empty((num_texts, output.shape[1]), np.float32)
                num_missing = num_texts
            matrix[rows] = np.asarray(output)[: len(rows)]
            num_missing -= len(rows)
            if on_rows is not None:
                on_rows(len(rows))
            if not num_missing:
                yield matrix

    def _dispatch(
        self, groups: Iterable[list[str]], batch_size: int
    ) -> Iterator[tuple[int, Int[np.ndarray, " m"], Float[Array, "r e"]]]:
        """Of every batch: its group's size, its rows in it, its embeddings to come."""
        tokens = batch_size * self._tower.max_tokens
        tokens = tokens or self._device_tokens * self._num_devices
        for ids, mask in _ahead(map(self._tower.tokenize, groups)):
            if not len(ids):
                raise ValueError("there are no texts to embed; give at least one.")
            for rows, shape in self._plan(mask.sum(axis=1), tokens):
                batch = self._lay_out(ids[rows], mask[rows], shape)
                yield len(ids), rows, self._forward(self._params, *batch)

    def _plan(
        self, lengths: Int[np.ndarray, " n"], tokens: int
    ) -> Iterator[tuple[Int[np.ndarray, " m"], tuple[int, int]]]:
        """Each batch's rows and its padded shape, of about so many tokens.

        The longest go first, so that a lack of memory shows at once, and that the one
        batch which is not full has short texts.
        """
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            length = self._padded_length(int(lengths[order[start]]))
            full = full_rows(tokens, length, self._num_devices)
            rows = order[start : start + full]
            per_device = -(-len(rows) // self._num_devices)
            # Powers of two, so that groups of all sizes compile few programs.
            num_rows = self._num_devices << (per_device - 1).bit_length()
            yield rows, (min(num_rows, full), length)
            start += len(rows)

    def _padded_length(self, num_tokens: int) -> int:
        multiple = _SHORT_MULTIPLE if num_tokens <= _LONG else _LONG_MULTIPLE
        return min(-(-num_tokens // multiple) * multiple, self._tower.max_tokens)

    def _lay_out(
        self,
        ids: Int[np.ndarray, "m p"],
        mask: Bool[np.ndarray, "m p"],
        shape: tuple[int, int],
    ) -> tuple[Int[Array, "r l"], Bool[Array, "r l"]]:
        """Cuts or pads texts to `shape` and sends them.

        Rows are filled up with copies of the first text: an all-padding row would be
        NaN in a mean over tokens.
        """
        num_rows, length = shape
        ids, mask = ids[:, :length], mask[:, :length]
        missing = ((0, 0), (0, length - ids.shape[1]))
        ids, mask = np.pad(ids, missing), np.pad(mask, missing)
        rows = np.arange(num_rows)
        rows[len(ids) :] = 0
        return jax.device_put((ids[rows], mask[rows]), self._batch_sharding)


def _ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, each made in a thread while the one before it is in use."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = thread.submit(next, iterator, end)
        while (item := waiting.result()) is not end:
            waiting = thread.submit(next, iterator, end)
            yield item


def _one_behind(items: Iterable[T]) -> Iterator[T]:
    """The items, each handed on when the one after it has been made."""
    held = []
    for item in items:
        held.append(item)
        if len(held) == 2:
            yield held.pop(0)
    yield from held
