import json

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from radit_jax.models import huggingface
from radit_jax.models.weights import CheckpointError

from .conftest import make_decoder


def assert_same(first, second):
    assert first.config == second.config
    jax.tree.map(np.testing.assert_array_equal, nnx.state(first), nnx.state(second))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied_head": True},
        {"family": "qwen2", "attention_bias": True},
        {"family": "mistral", "sliding_window": 5},
    ],
)
def test_a_saved_decoder_loads_bit_for_bit(tmp_path, changes):
    decoder = make_decoder(**changes)
    huggingface.save_decoder(decoder, tmp_path / "model")
    assert_same(decoder, huggingface.load_decoder(tmp_path / "model"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_saved_encoder_loads_bit_for_bit(tmp_path, encoder):
    huggingface.save_encoder(encoder, tmp_path / "model")
    assert_same(encoder, huggingface.load_encoder(tmp_path / "model"))


def test_shards_hold_no_more_than_asked_and_load(tmp_path, decoder):
    huggingface.save_decoder(decoder, tmp_path / "model", max_shard_bytes=4000)
    shards = sorted((tmp_path / "model").glob("model-*.safetensors"))
    assert len(shards) > 3
    for shard in shards:
        tensors = safetensors.numpy.load_file(shard)
        assert sum(t.nbytes for t in tensors.values()) <= 4000
    assert_same(decoder, huggingface.load_decoder(tmp_path / "model"))
    shards[1].unlink()
    with pytest.raises(CheckpointError, match=rf"lacks \['{shards[1].name}'\]"):
        huggingface.load_decoder(tmp_path / "model")


def test_options_reach_the_config_and_the_placement(tmp_path, decoder):
    huggingface.save_decoder(decoder, tmp_path / "model")
    placed = []

    def place(shape, axes):
        placed.append((shape, axes))
        return jax.sharding.SingleDeviceSharding(jax.devices()[1])

    loaded = huggingface.load_decoder(
        tmp_path / "model", "bfloat16", remat=True, place=place
    )
    assert (loaded.config.compute_dtype, loaded.config.remat) == ("bfloat16", True)
    assert loaded.head.devices() == {jax.devices()[1]}
    assert ((40, 16), ("vocab", "embed")) in placed
    assert ((3, 6, 4, 16), ("layers", "heads", "head", "embed")) in placed


def rewrite(directory, change):
    """Applies `change` to the tensors of a saved model."""
    path = directory / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(change(dict(tensors)) or tensors, path)


def test_half_precision_files_become_float32(tmp_path, decoder):
    huggingface.save_decoder(decoder, tmp_path / "model")
    tensors = safetensors.numpy.load_file(tmp_path / "model" / "model.safetensors")
    # The NumPy front end can't write bfloat16: its bytes are the upper halves.
    header, body = {}, b""
    for name, tensor in tensors.items():
        half = tensor.astype(ml_dtypes.bfloat16)
        offsets = [len(body), len(body) + half.nbytes]
        header[name] = {"dtype": "BF16", "shape": half.shape, "data_offsets": offsets}
        body += half.tobytes()
    text = json.dumps(header).encode()
    file = len(text).to_bytes(8, "little") + text + body
    (tmp_path / "model" / "model.safetensors").write_bytes(file)
    loaded = huggingface.load_decoder(tmp_path / "model")
    expected = np.asarray(decoder.head).astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(loaded.head, expected)


def test_every_mismatch_is_reported_at_once(tmp_path, decoder):
    huggingface.save_decoder(decoder, tmp_path / "model")

    def spoil(tensors):
        del tensors["lm_head.weight"]
        tensors["model.layers.1.mlp.up_proj.weight"] = np.zeros((16, 20), np.float32)
        tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(24, np.float32)
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(
            2, np.float32
        )
        return tensors

    rewrite(tmp_path / "model", spoil)
    with pytest.raises(CheckpointError, match=r"3 problem\(s\)") as caught:
        huggingface.load_decoder(tmp_path / "model")
    message = str(caught.value)
    assert "tensor lm_head.weight (40, 16) is missing" in message
    assert "up_proj.weight has shape (16, 20), but the configuration asks" in message
    assert "q_proj.bias (24,) has no place in this architecture" in message
    assert "inv_freq" not in message


def test_a_tied_models_second_table_is_ignored(tmp_path):
    decoder = make_decoder(tied_head=True)
    huggingface.save_decoder(decoder, tmp_path / "model")
    rewrite(
        tmp_path / "model",
        lambda tensors: tensors | {"lm_head.weight": np.zeros((40, 16), np.float32)},
    )
    assert_same(decoder, huggingface.load_decoder(tmp_path / "model"))


def test_encoders_load_with_a_prefix_old_names_and_unused_heads(tmp_path, encoder):
    huggingface.save_encoder(encoder, tmp_path / "model")

    def age(tensors):
        aged = {
            "bert."
            + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for name, tensor in tensors.items()
        }
        aged["bert.pooler.dense.weight"] = np.zeros((12, 12), np.float32)
        aged["bert.embeddings.position_ids"] = np.zeros((1, 9), np.int64)
        aged["cls.predictions.bias"] = np.zeros(30, np.float32)
        return aged

    rewrite(tmp_path / "model", age)
    assert_same(encoder, huggingface.load_encoder(tmp_path / "model"))


def test_an_existing_directory_is_replaced_only_if_asked(tmp_path, decoder):
    huggingface.save_decoder(decoder, tmp_path / "model")
    with pytest.raises(CheckpointError, match="exists; choose another directory"):
        huggingface.save_decoder(decoder, tmp_path / "model")
    (tmp_path / "model" / "old.txt").write_text("old")
    huggingface.save_decoder(decoder, tmp_path / "model", overwrite=True)
    assert not (tmp_path / "model" / "old.txt").exists()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("dear")
    with pytest.raises(CheckpointError, match="is no model directory"):
        huggingface.save_decoder(decoder, tmp_path / "home", overwrite=True)


def test_a_save_that_is_cut_off_leaves_no_model(tmp_path, decoder):
    class Broken:
        bos_id, eos_id = 1, 2

        def save(self, directory):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        huggingface.save_decoder(decoder, tmp_path / "model", Broken())
    assert not (tmp_path / "model").exists()
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        huggingface.load_decoder(tmp_path / "model.incomplete")
    huggingface.save_decoder(decoder, tmp_path / "model")
    assert not (tmp_path / "model.incomplete").exists()
