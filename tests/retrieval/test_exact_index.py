import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from radit_jax.retrieval import exact_index
from radit_jax.retrieval.embeddings import EmbeddingsError
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.ranking import SearchError

from .conftest import ranking_of


@pytest.mark.parametrize("num_devices", [1, 8])
@pytest.mark.parametrize("block_size", [7, 100, 8192])
def test_equals_argsort(to_disk, num_devices, block_size):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(533, 24)).astype(np.float32)
    queries = rng.normal(size=(5, 24)).astype(np.float32)
    index = ExactIndex(to_disk(matrix), jax.devices()[:num_devices], block_size)
    ids, scores = index.search(queries, 40)
    expected_ids, expected_scores = ranking_of(matrix, queries, 40)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)
    assert (ids.dtype, scores.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("num_devices", [1, 8])
def test_equal_scores_come_by_lower_id(to_disk, num_devices):
    """Small integers: most scores are shared by many rows, and all are exact."""
    rng = np.random.default_rng(1)
    matrix = rng.integers(-2, 3, size=(300, 3)).astype(np.float32)
    queries = rng.integers(-2, 3, size=(9, 3)).astype(np.float32)
    index = ExactIndex(to_disk(matrix), jax.devices()[:num_devices], block_size=16)
    ids, scores = index.search(queries, 50)
    expected_ids, expected_scores = ranking_of(matrix, queries, 50)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)


def test_one_and_eight_devices_agree_on_equal_texts(to_disk):
    rng = np.random.default_rng(2)
    matrix = np.repeat(rng.normal(size=(50, 96)), 4, axis=0).astype(np.float32)
    matrix = matrix[rng.permutation(200)]
    stored = to_disk(matrix)
    queries = rng.normal(size=(6, 96)).astype(np.float32)
    one = ExactIndex(stored, jax.devices()[:1]).search(queries, 10)
    eight = ExactIndex(stored, jax.devices(), block_size=9).search(queries, 10)
    np.testing.assert_array_equal(one[0], eight[0])
    np.testing.assert_array_equal(one[0], ranking_of(matrix, queries, 10)[0])


def test_a_float32_rounding_error_does_not_change_the_ranking(to_disk):
    """Rows 1 to 3 score 1, but 0 where the 1 is added to 1e8 in float32."""
    matrix = [[0.5, 0, 0], [1e8, 1, -1e8], [1, 1e8, -1e8], [1e8, -1e8, 1]]
    index = ExactIndex(to_disk(np.array(matrix, np.float32), 1), jax.devices()[:1])
    ids, scores = index.search(np.ones((1, 3), np.float32), 3)
    np.testing.assert_array_equal(ids, [[1, 2, 3]])
    np.testing.assert_array_equal(scores, [[1, 1, 1]])


@pytest.mark.parametrize("num_rows", [1, 3, 8])
def test_corpus_smaller_than_the_devices(to_disk, num_rows):
    matrix = -np.arange(1, num_rows + 1, dtype=np.float32)[:, None]
    index = ExactIndex(to_disk(matrix, num_shards=1))
    ids, scores = index.search(np.ones((1, 1), np.float32), num_rows)
    np.testing.assert_array_equal(ids, [np.arange(num_rows)])
    np.testing.assert_array_equal(scores, [-np.arange(1, num_rows + 1)])


def test_batches_of_any_size(to_disk):
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(64, 8)).astype(np.float32)
    queries = rng.normal(size=(300, 8)).astype(np.float32)
    index = ExactIndex(to_disk(matrix))
    all_ids, _ = index.search(queries, 3)
    np.testing.assert_array_equal(all_ids, ranking_of(matrix, queries, 3)[0])
    np.testing.assert_array_equal(index.search(queries[:3], 3)[0], all_ids[:3])
    assert index.search(queries[:0], 3)[0].shape == (0, 3)


def test_float16_corpus_is_scored_in_float32(to_disk):
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(100, 64)).astype(np.float16)
    queries = rng.normal(size=(4, 64)).astype(np.float32)
    ids, scores = ExactIndex(to_disk(matrix)).search(queries, 5)
    expected_ids, expected_scores = ranking_of(matrix, queries, 5)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)


def test_bfloat16_rows_find_what_stored_rows_rank(to_disk):
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(900, 64)).astype(np.float32)
    queries = rng.normal(size=(20, 64)).astype(np.float32)
    index = ExactIndex(to_disk(matrix), rows_dtype="bfloat16")
    ids, scores = index.search(queries, 10)
    expected_ids, expected_scores = ranking_of(matrix, queries, 10)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)
    assert index._rows.nbytes == 2 * 1024 * 64  # 128 rows a device: whole tiles


def test_a_corpus_stored_in_bfloat16_is_exact(to_disk):
    rng = np.random.default_rng(6)
    matrix = rng.normal(size=(200, 64)).astype(jnp.bfloat16)
    queries = rng.normal(size=(9, 64)).astype(np.float32)
    ids, scores = ExactIndex(to_disk(matrix)).search(queries, 10)
    expected_ids, expected_scores = ranking_of(matrix.astype(np.float32), queries, 10)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)


def test_a_part_of_the_corpus(to_disk):
    rng = np.random.default_rng(7)
    matrix = rng.normal(size=(300, 8)).astype(np.float32)
    index = ExactIndex(to_disk(matrix), part=range(40, 170))
    ids, _ = index.search(matrix[:4], 130)
    expected = ranking_of(matrix[40:170], matrix[:4], 130)[0] + 40
    np.testing.assert_array_equal(ids, expected)


def test_the_program_compiles_without_the_rows():
    """For memory and time on devices that need not hold a corpus yet."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), (exact_index.AXIS,))
    shape = exact_index.block_shape(1_000_000, 8, 8192)
    search = exact_index.program(mesh, 1_000_000, shape, rounds_products=True)
    rows = jax.ShapeDtypeStruct((8 * shape[0] * shape[1], 32), jnp.uint16)
    queries = jax.ShapeDtypeStruct((16, 32), jnp.float32)
    compiled = search.lower(queries, rows, k=10).compile()
    memory = compiled.memory_analysis()
    assert memory.argument_size_in_bytes < 1_000_000 * 32 * 2 / 8 + 20_000  # a device
    assert memory.temp_size_in_bytes < 16 * 1_000_000 * 4 / 8


def _sizes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _sizes(inner)


def test_scores_of_the_whole_corpus_are_never_held():
    queries, rows = jnp.ones((32, 4)), jnp.ones((64 * 50, 4))

    def search(queries, rows):
        return exact_index._search_shard(
            queries, rows, k=3, num_chunks=3200, block_shape=(64, 50)
        )

    one = jax.sharding.PartitionSpec()
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("corpus",))
    search = jax.shard_map(
        search, mesh=mesh, in_specs=(one, one), out_specs=one, check_vma=False
    )
    jaxpr = jax.make_jaxpr(search)(queries, rows).jaxpr
    assert max(_sizes(jaxpr)) <= 64 * 50 * 4  # the corpus itself, not [b n]


def test_corpus_that_is_not_finite(to_disk):
    matrix = np.ones((9, 2), np.float32)
    matrix[4] = np.nan
    with pytest.raises(EmbeddingsError, match="1 of 9 .* the first is chunk 4"):
        ExactIndex(to_disk(matrix))


def test_checks_its_queries(to_disk):
    index = ExactIndex(to_disk(np.ones((9, 2), np.float32)))
    with pytest.raises(SearchError, match="k=10 is larger than the corpus of 9"):
        index.search(np.ones((1, 2), np.float32), 10)
