import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as safetensors

from radit_jax.retrieval import embeddings
from radit_jax.retrieval.embeddings import Embeddings, EmbeddingsError


def _matrix(num_rows=11, width=3, dtype=np.float32):
    return np.arange(num_rows * width, dtype=dtype).reshape(num_rows, width)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_reads_back_what_was_written(to_disk, dtype):
    matrix = _matrix(dtype=dtype)
    stored = to_disk(matrix)
    assert (stored.num_rows, stored.width, stored.dtype) == (11, 3, dtype)
    ids = np.array([10, 0, 4, 4, 7, 2])
    rows = stored.rows(ids)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, matrix[ids])
    np.testing.assert_array_equal(stored.slice(1, 9), matrix[1:9])
    assert stored.slice(1, 9).dtype == dtype
    blocks = list(stored.blocks(4))
    assert [len(block) for block in blocks] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(blocks), matrix)


def test_past_the_end_is_empty(to_disk):
    assert to_disk(_matrix()).slice(20, 30).shape == (0, 3)


def test_rows_are_read_from_disk_only_when_asked_for(to_disk):
    stored = to_disk(_matrix())
    assert all(isinstance(shard, np.memmap) for shard in stored._shards)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_safetensors_opens_the_files(to_disk, tmp_path, dtype):
    matrix = _matrix(dtype=dtype)
    to_disk(matrix, num_shards=1)
    file = tmp_path / "embeddings" / "embeddings-00000-of-00001.safetensors"
    read = safetensors.load_file(file)["embeddings"]
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, matrix)
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # no .tmp


def test_missing_shard(to_disk, tmp_path):
    to_disk(_matrix())
    name = "embeddings-00001-of-00003.safetensors"
    (tmp_path / "embeddings" / name).unlink()
    with pytest.raises(EmbeddingsError, match=f"lacks 1 of 3 .* the first is {name}"):
        Embeddings(tmp_path / "embeddings", 3)


def test_no_shards(tmp_path):
    with pytest.raises(EmbeddingsError, match="lacks 0 of 0 files"):
        Embeddings(tmp_path, 0)


@pytest.mark.parametrize("kept_bytes", [4, 40, -1])
def test_shard_cut_short(to_disk, tmp_path, kept_bytes):
    to_disk(_matrix())
    file = tmp_path / "embeddings" / "embeddings-00002-of-00003.safetensors"
    file.write_bytes(file.read_bytes()[:kept_bytes])
    with pytest.raises(EmbeddingsError, match="00002-of-00003.* is cut short: it has"):
        Embeddings(tmp_path / "embeddings", 3)


def test_shards_of_different_widths(to_disk, tmp_path):
    to_disk(_matrix())
    file = tmp_path / "embeddings" / "embeddings-00001-of-00003.safetensors"
    embeddings.write_shard(file, _matrix(2, 5))
    with pytest.raises(EmbeddingsError, match="rows of width 5, but .* of width 3"):
        Embeddings(tmp_path / "embeddings", 3)


def test_write_shard_refuses_other_dtypes_and_nothing(tmp_path):
    with pytest.raises(EmbeddingsError, match="11 x 3 numbers of float64"):
        embeddings.write_shard(tmp_path / "x", _matrix(dtype=np.float64))
    with pytest.raises(EmbeddingsError, match="0 x 3 numbers of float32"):
        embeddings.write_shard(tmp_path / "x", _matrix(0))


def test_a_row_that_is_not_there(to_disk):
    stored = to_disk(_matrix())
    with pytest.raises(EmbeddingsError, match="row 11 was asked for, but there are 11"):
        stored.rows(np.array([3, 11]))
    with pytest.raises(EmbeddingsError, match="row -1 was asked for"):
        stored.rows(np.array([-1]))


def test_rows_that_are_not_finite(to_disk):
    matrix = _matrix()
    matrix[5, 1], matrix[8, 0] = np.nan, np.inf
    with pytest.raises(
        EmbeddingsError, match="2 of 11 embeddings are not finite, the first is chunk 5"
    ):
        to_disk(matrix).check_finite()


def test_the_first_bad_row_is_named_by_its_chunk():
    matrix = _matrix(6)
    matrix[4, 2] = np.nan
    matrix[5] = -np.inf
    with pytest.raises(
        EmbeddingsError, match="2 of 6 embeddings are not finite, .* is chunk 104;"
    ):
        embeddings.check_finite([matrix[:3], matrix[3:]], 100)
    embeddings.check_finite([matrix[:3]], 100)
