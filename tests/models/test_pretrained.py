import dataclasses

import jax
import numpy as np
import pytest
import tokenizers
from flax import nnx
from tokenizers import models, pre_tokenizers, processors

from radit_jax.models import huggingface, pretrained
from radit_jax.models.dual_encoder import DualEncoder
from radit_jax.models.encoder import Encoder
from radit_jax.models.weights import CheckpointError
from radit_jax.text.tokenizer import EncoderTokenizer

from . import gguf_files
from .conftest import ENCODER, make_decoder, scatter

NUM_TOKENS = len(gguf_files.TOKENS)
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "query:"]


def save_gguf(path, **changes):
    decoder = make_decoder(**changes)
    fields = gguf_files.fields_of(decoder.config) | gguf_files.tokenizer_fields()
    tensors = gguf_files.tensors_of(decoder)
    return decoder, gguf_files.write(path / "model.gguf", "llama", fields, tensors)


def encoder_tokenizer():
    backend = tokenizers.Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    backend.add_special_tokens(WORDS[:4])
    return EncoderTokenizer(backend, pad_id=0)


@pytest.fixture
def tower_path(tmp_path, encoder):
    huggingface.save_encoder(encoder, tmp_path / "encoder", encoder_tokenizer())
    return tmp_path / "encoder"


def load_tower(path, **changes):
    settings = {"pooling": "mean", "normalize": True, "max_tokens": 9}
    return pretrained.load_tower(path, **settings | changes)


def test_a_gguf_file_and_its_hugging_face_copy_are_the_same_model(tmp_path):
    decoder, path = save_gguf(tmp_path, vocab_size=NUM_TOKENS)
    loaded, tokenizer = pretrained.load_lm(str(path), remat=True)
    assert loaded.config.remat
    huggingface.save_decoder(loaded, tmp_path / "copy", tokenizer)
    copy, copied_tokenizer = pretrained.load_lm(tmp_path / "copy")
    np.testing.assert_array_equal(copy.head, decoder.head)
    text = "hello, hell 12"
    assert copied_tokenizer.encode(text) == tokenizer.encode(text)
    assert (copied_tokenizer.bos_id, copied_tokenizer.eos_id) == (0, 1)


def test_a_tokenizer_with_more_ids_than_rows_is_refused(tmp_path):
    _, path = save_gguf(tmp_path, vocab_size=NUM_TOKENS - 1)
    with pytest.raises(CheckpointError, match=f"{NUM_TOKENS} ids, but the model"):
        pretrained.load_lm(path)


def test_a_tower_embeds_texts_with_its_prefix(tower_path):
    tower = load_tower(tower_path, prefix="query: ")
    ids, mask = tower.tokenize(["a b", "b"])
    np.testing.assert_array_equal(ids, [[1, 6, 4, 5, 2], [1, 6, 5, 2, 0]])
    np.testing.assert_array_equal(mask.sum(1), [5, 4])
    graphdef, params = nnx.split(tower.encoder)
    vectors = jax.jit(lambda params, *batch: tower.embed(graphdef, params, *batch))(
        params, ids, mask
    )
    assert vectors.shape == (2, tower.width) == (2, 12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


def test_padded_lengths_are_multiples_of_the_bucket_up_to_the_limit(tower_path):
    tower = load_tower(tower_path)
    ids, mask = tower.tokenize(["a b"], bucket_tokens=8)
    np.testing.assert_array_equal(ids, [[1, 4, 5, 2, 0, 0, 0, 0]])
    np.testing.assert_array_equal(mask[0], [True] * 4 + [False] * 4)
    ids, mask = tower.tokenize(["a " * 20], bucket_tokens=8)
    assert ids.shape == (1, 9) and mask.all()


def test_a_tower_longer_than_its_position_table_is_refused(tower_path):
    with pytest.raises(CheckpointError, match="9 positions, but max_tokens is 10"):
        load_tower(tower_path, max_tokens=10)


@pytest.fixture
def sentence_path(tmp_path, tower_path):
    """The same encoder, by mean and unit length, texts of at most 7 tokens."""
    tower = load_tower(tower_path, max_tokens=7)
    pretrained.save_tower(tower, tmp_path / "sentence")
    return tmp_path / "sentence"


def test_a_directory_that_knows_its_pooling_needs_no_config(sentence_path, tower_path):
    tower = pretrained.load_tower(sentence_path)
    assert (tower.pooling, tower.normalize, tower.max_tokens) == ("mean", True, 7)
    assert load_tower(sentence_path, max_tokens=5).max_tokens == 5
    assert load_tower(tower_path, max_tokens=0).max_tokens == 9  # its positions


@pytest.mark.parametrize(
    "changes",
    [{"pooling": "cls"}, {"normalize": False}, {"pooling": "cls", "normalize": False}],
)
def test_a_config_that_contradicts_the_directory(sentence_path, changes):
    with pytest.raises(CheckpointError, match="says pooling='mean' and normalize=True"):
        load_tower(sentence_path, **changes)


def test_a_normalize_beside_a_pooling_left_to_the_directory(tmp_path, tower_path):
    tower = load_tower(tower_path, pooling="cls", normalize=False)
    pretrained.save_tower(tower, tmp_path / "raw")
    assert not pretrained.load_tower(tmp_path / "raw").normalize
    with pytest.raises(CheckpointError, match="the config says '' and True"):
        pretrained.load_tower(tmp_path / "raw", normalize=True)


def test_no_pooling_anywhere(tower_path):
    with pytest.raises(CheckpointError, match="has no modules.json, so it does not"):
        pretrained.load_tower(tower_path)


def test_two_towers_may_not_share_an_encoder(tower_path):
    tower = load_tower(tower_path)
    with pytest.raises(ValueError, match="both towers hold the same Encoder"):
        DualEncoder(tower, tower)
    DualEncoder(tower, load_tower(tower_path))


def test_towers_of_different_widths_are_refused(tmp_path, tower_path):
    narrow = scatter(
        lambda: Encoder(dataclasses.replace(ENCODER, width=6), rngs=nnx.Rngs(0))
    )
    huggingface.save_encoder(narrow, tmp_path / "narrow", encoder_tokenizer())
    with pytest.raises(ValueError, match="embeds in 12 dimensions, the passage"):
        DualEncoder(load_tower(tower_path), load_tower(tmp_path / "narrow"))
