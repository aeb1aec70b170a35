"""Batches: rows of the right question, padded no more than they must be."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from radit_jax.config import RetrieverTrainingConfig
from radit_jax.corpus import store as store_lib
from radit_jax.models.dual_encoder import Tower
from radit_jax.models.encoder import Encoder, EncoderConfig
from radit_jax.retrieval.lm_scores import LMScores
from radit_jax.retrieval.lsr_batches import Batches, Frozen, Reencoded
from radit_jax.retrieval.supervision import Supervised
from radit_jax.retrieval.token_rows import TokenRows
from radit_jax.testing import toy
from radit_jax.training import mesh
from radit_jax.types import Chunk

WORDS = [f"w{i}" for i in range(24)]
TEXTS = [" ".join(WORDS[: 1 + 5 * i % 18]) for i in range(10)]
SETTINGS = RetrieverTrainingConfig(
    batch_size=4, corpus_weight=0.5, num_steps=4, warmup_steps=0
).resolved(1.0)


@pytest.fixture(scope="module")
def tower():
    tokenizer = toy.encoder_tokenizer([" ".join(WORDS)])
    config = EncoderConfig(tokenizer.vocab_size, 1, 8, 2, 16, max_positions=24)
    encoder = Encoder(config, rngs=nnx.Rngs(0))
    return Tower(encoder, tokenizer, "mean", False, 20, prefix="w23 ")


def part(rows, seed):
    """Questions whose chunk ids and scores are their row, so that each is known."""
    rng = np.random.default_rng(seed)
    rows = np.array(rows)
    num_tokens = np.tile(rng.integers(1, 12, (len(rows), 1)), 3).astype(np.int32)
    num_tokens[::2, 2] = 0
    starts = np.cumsum(num_tokens.reshape(-1)).reshape(-1, 3) - num_tokens
    tokens = -rng.random(int(num_tokens.sum())).astype(np.float32)
    values = (rows[:, None] + np.array([[0.1, 0.2, 0.3]])).astype(np.float32)
    chunk_ids = (rows[:, None] + np.arange(3)[None]).astype(np.int32)
    scores = LMScores(values, num_tokens, starts.astype(np.int64), tokens)
    return Supervised([TEXTS[i] for i in rows], {"": len(rows)}, chunk_ids, scores, {})


@pytest.fixture
def parts():
    return [part(range(4), 0), part(range(4, 10), 1)]


@pytest.fixture
def matrix(to_disk):
    return to_disk(np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))


def make(parts, tower, passages_of, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    return Batches(parts, settings, tower, passages_of, mesh.make_mesh())


def questions(batch):
    return batch["lm_scores"][:, 0].astype(int)


def test_rows_are_those_of_their_question(parts, tower, matrix):
    batches = make(parts, tower, Frozen(matrix))
    for _ in range(6):
        batch = next(batches)
        rows = questions(batch)
        check_queries(batch, tower, rows)
        chunk_ids = rows[:, None] + np.arange(3)
        np.testing.assert_array_equal(
            batch["passages"].reshape(12, 8), matrix.rows(chunk_ids.reshape(-1))
        )
        assert batch["mask"][:, 2].tolist() == (rows % 2 == 1).tolist()
        assert sorted(rows < 4) == [False, False, True, True]  # half are corpus queries
        assert "token_log_likelihood" not in batch


def check_queries(batch, tower, rows):
    """Each query's tokens stand in one row of its group, in order, and no others."""
    groups = batch["query_segments"]
    per_group = len(rows) // len(groups)
    assert groups.max(axis=(1, 2)).tolist() == [per_group] * len(groups)
    for i, row in enumerate(rows.tolist()):
        ids, _ = tower.tokenize([TEXTS[row]])
        group, number = divmod(i, per_group)
        where = groups[group] == number + 1
        assert where.any(axis=1).sum() == 1
        assert batch["query_ids"][group][where].tolist() == ids[0].tolist()
        positions = batch["query_positions"][group][where]
        assert positions.tolist() == list(range(ids.shape[1]))
    assert not batch["query_ids"][groups == 0].any()


def test_queries_share_rows_in_a_group_a_device(parts, tower, matrix):
    batch = next(make(parts, tower, Frozen(matrix), batch_size=8))
    assert batch["query_ids"].shape == (8, 1, 64)
    assert mesh.put_batch(batch, mesh.make_mesh(), 8)["query_ids"].shape == (8, 1, 64)
    batch = next(make(parts, tower, Frozen(matrix), batch_size=9))  # is not divided
    assert batch["query_ids"].shape[0] == 1
    tokens = sum(len(tower.tokenize([TEXTS[i]])[0][0]) for i in questions(batch))
    assert batch["query_ids"].shape[1:] == (-(-tokens // 64), 64)
    check_queries(batch, tower, questions(batch))


def test_emdr2_gets_the_tokens_of_both_parts(parts, tower, matrix):
    batches = make(parts, tower, Frozen(matrix), loss="emdr2")
    for _ in range(4):
        batch = next(batches)
        for row, tokens, mask in zip(
            questions(batch),
            batch["token_log_likelihood"],
            batch["target_mask"],
            strict=True,
        ):
            own = parts[int(row >= 4)]
            expected, own_mask = own.scores.padded_tokens(
                np.array([row - 4 * (row > 3)])
            )
            length = own_mask.sum()
            assert mask.sum() == length
            np.testing.assert_array_equal(tokens[:, :length], expected[0, :, :length])
            assert not tokens[:, length:].any()


def test_passages_are_tokens_where_their_tower_learns(parts, tower, tmp_path):
    chunks = [Chunk(i, f"d{i}", " ".join(WORDS[i : i + 1 + i])) for i in range(12)]
    store_lib.write_chunks(tmp_path, chunks)
    batches = make(parts, tower, Reencoded(tower, store_lib.ChunkStore(tmp_path)))
    batch = next(batches)
    chunk_ids = (questions(batch)[:, None] + np.arange(3)).reshape(-1)
    ids, mask = tower.tokenize([chunks[i].passage for i in chunk_ids])
    shape = batch["passage_ids"].shape
    assert shape == (4, 3, 20)
    np.testing.assert_array_equal(
        batch["passage_ids"].reshape(12, 20)[:, : ids.shape[1]], ids
    )
    np.testing.assert_array_equal(
        batch["passage_mask"].reshape(12, 20)[:, : ids.shape[1]], mask
    )
    assert "passages" not in batch


def test_goes_on_where_it_was(parts, tower, matrix):
    batches = make(parts, tower, Frozen(matrix), loss="emdr2")
    next(batches)
    state = batches.get_state()
    expected = [next(batches) for _ in range(3)]
    again = make(parts, tower, Frozen(matrix), loss="emdr2")
    again.set_state(state)
    for one in expected:
        jax.tree.map(np.testing.assert_array_equal, one, next(again))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("normalize", [False, True])
def test_packed_texts_embed_as_they_do_alone(tower, pooling, normalize):
    tower = dataclasses.replace(tower, pooling=pooling, normalize=normalize)
    groups = np.array([[3, 8, 1, 0, 5], [2, 4, 9, 7, 6]])
    graph, params = nnx.split(tower.encoder)
    packed = TokenRows(tower, TEXTS * 3).packed(np.hstack([groups, groups + 10]))
    assert packed[0].shape == (2, 3, 64)
    together = jax.jit(functools.partial(tower.embed_packed, graph, num_texts=10))
    alone = jax.jit(functools.partial(tower.embed, graph))
    found = together(params, *map(jax.numpy.asarray, packed)).reshape(2, 2, 5, 8)
    for part in (0, 1):
        texts = [TEXTS[i] for i in groups.reshape(-1)]
        expected = alone(params, *tower.tokenize(texts)).reshape(2, 5, 8)
        np.testing.assert_allclose(found[:, part], expected, rtol=1e-5, atol=1e-6)


def test_token_rows_are_blocks_put_together(tower, monkeypatch):
    whole = TokenRows(tower, TEXTS)
    monkeypatch.setattr("radit_jax.retrieval.token_rows._BLOCK", 3)
    rows = np.array([8, 1, 5])
    for found in (whole, TokenRows(tower, TEXTS)):
        length = found.length(rows, 1)
        expected = tower.tokenize([TEXTS[row] for row in rows])
        jax.tree.map(
            np.testing.assert_array_equal, found.padded(rows, length), expected
        )
