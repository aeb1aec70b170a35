"""The objective is the loss that the config names; its gradient goes to what learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from radit_jax.config import RetrieverTrainingConfig
from radit_jax.models.dual_encoder import Tower
from radit_jax.models.encoder import Encoder, EncoderConfig
from radit_jax.ops import losses
from radit_jax.retrieval.lsr_objective import Objective
from radit_jax.testing import toy

WIDTH = 8


def make_tower(seed):
    tokenizer = toy.encoder_tokenizer(["a b c d e f"])
    config = EncoderConfig(tokenizer.vocab_size, 1, WIDTH, 2, 16, max_positions=8)
    encoder = Encoder(config, rngs=nnx.Rngs(seed))
    encoder.token_embedding[...] = jax.random.normal(
        jax.random.key(seed), encoder.token_embedding.shape
    )
    return Tower(encoder, tokenizer, "mean", False, 8)


@pytest.fixture(scope="module")
def tower():
    return make_tower(0)


@pytest.fixture(scope="module")
def batch(tower):
    rng = np.random.default_rng(0)
    ids, mask = tower.tokenize(["a b", "c", "d e f"])
    passage_ids, passage_mask = tower.tokenize([*"abcdef", "a f", "b e", "c d"])
    numbers = 1 + np.arange(3)
    batch = {
        "query_ids": ids[None],
        "query_segments": (mask * numbers[:, None])[None],
        "query_positions": np.broadcast_to(np.arange(mask.shape[1]), (1, *mask.shape)),
        "passages": rng.normal(size=(3, 3, WIDTH)).astype(np.float32),
        "passage_ids": passage_ids.reshape(3, 3, -1),
        "passage_mask": passage_mask.reshape(3, 3, -1),
        "lm_scores": -rng.random((3, 3)).astype(np.float32),
        "mask": np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1]], bool),
        "token_log_likelihood": -rng.random((3, 3, 4)).astype(np.float32),
        "target_mask": np.array([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]], bool),
    }
    return jax.tree.map(jnp.asarray, batch)


def objective(tower, passage=None, **changes):
    settings = RetrieverTrainingConfig(**changes).resolved(2.0)
    graphs, params = {}, {}
    for name, one in (("query", tower), ("passage", passage)):
        if one is not None:
            graphs[name], params[name] = nnx.split(one.encoder)
    made = Objective(settings, tower, graphs["query"], passage, graphs.get("passage"))
    return made, params


def evaluate(made, params, batch):
    """Loss summed, its gradients, the queries and the sums of diagnostics."""

    def loss(params, batch):
        loss_sum, num_queries, sums = made(params, batch)
        return loss_sum, (num_queries, sums)

    (value, rest), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        params, batch
    )
    return value, gradients, *rest


def dot_products(tower, batch):
    graph, params = nnx.split(tower.encoder)
    embed = jax.jit(functools.partial(tower.embed, graph))
    query = embed(params, batch["query_ids"][0], batch["query_segments"][0] > 0)
    return jnp.einsum("be,bke->bk", query, batch["passages"])


def by_hand(loss, scores, batch):
    if loss == "emdr2":
        return losses.emdr2_loss(
            scores / WIDTH**0.5,
            batch["token_log_likelihood"],
            batch["target_mask"],
            batch["mask"],
        )
    rest = scores, batch["lm_scores"], batch["mask"]
    if loss == "lsr":
        temperatures = {"lm_temperature": 0.01, "retriever_temperature": 2.0}
        return losses.lsr_loss(*rest, **temperatures)
    if loss == "pdist":
        return losses.pdist_loss(*rest, width=WIDTH)
    return losses.replug_lsr_loss(*rest)


@pytest.mark.parametrize("loss", ["lsr", "replug_lsr", "pdist", "emdr2"])
def test_it_is_the_named_loss_and_its_gradient_reaches_the_tower(tower, batch, loss):
    made, params = objective(tower, loss=loss)
    value, gradients, num_queries, diagnostics = evaluate(made, params, batch)
    scores = dot_products(tower, batch)
    np.testing.assert_allclose(value / 3, by_hand(loss, scores, batch), rtol=1e-5)
    assert num_queries == 3
    # Of ten chunk places one is masked: entropies are at most 2 ln 3 + ln 2.
    assert 0 < diagnostics["entropy_p_r"] <= 2 * np.log(3) + np.log(2) + 1e-5
    assert float(optax_norm(gradients["query"])) > 0
    assert gradients.keys() == {"query"}


def optax_norm(tree):
    return jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))


@pytest.mark.parametrize("loss", ["lsr", "replug_lsr", "pdist", "emdr2"])
def test_a_masked_chunk_counts_for_nothing(tower, batch, loss):
    made, params = objective(tower, loss=loss)
    changed = dict(batch)
    changed["passages"] = batch["passages"].at[1, 2].set(700.0)
    changed["lm_scores"] = batch["lm_scores"].at[1, 2].set(0.0)
    changed["token_log_likelihood"] = batch["token_log_likelihood"].at[1, 2].set(0.0)
    found = [evaluate(made, params, one)[:2] for one in (batch, changed)]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), *found)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found[1]))


def test_both_towers_learn_where_passages_are_encoded(tower, batch):
    passage = make_tower(1)
    made, params = objective(tower, passage, train="both", loss="replug_lsr")
    value, gradients, _, _ = evaluate(made, params, batch)
    assert all(float(optax_norm(gradients[name])) > 0 for name in ("query", "passage"))
    # Embedded by themselves, the passages give the same loss.
    graph, own = nnx.split(passage.encoder)
    flat = (batch[f"passage_{x}"].reshape(9, -1) for x in ("ids", "mask"))
    frozen = dict(batch) | {
        "passages": passage.embed(graph, own, *flat).reshape(3, 3, -1)
    }
    alone, query = objective(tower, loss="replug_lsr")
    np.testing.assert_allclose(value, evaluate(alone, query, frozen)[0], rtol=1e-5)


def test_the_direction_is_the_configs(tower, batch):
    made, params = objective(tower, direction="reverse")
    expected = losses.lsr_loss(
        dot_products(tower, batch),
        batch["lm_scores"],
        batch["mask"],
        lm_temperature=0.01,
        retriever_temperature=2.0,
        direction="reverse",
    )
    value, *_ = evaluate(made, params, batch)
    np.testing.assert_allclose(value / 3, expected, rtol=1e-5)


def test_given_temperatures_are_taken(tower, batch):
    made, params = objective(tower, lm_temperature=0.7, retriever_temperature=0.5)
    expected = losses.lsr_loss(
        dot_products(tower, batch),
        batch["lm_scores"],
        batch["mask"],
        lm_temperature=0.7,
        retriever_temperature=0.5,
    )
    value, *_ = evaluate(made, params, batch)
    np.testing.assert_allclose(value / 3, expected, rtol=1e-5)
