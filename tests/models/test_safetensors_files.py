import json

import numpy as np
import pytest
import safetensors.numpy
from etils import epath

from radit_jax.models import safetensors_files
from radit_jax.models.weights import CheckpointError


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"weight": np.ones((4, 8), np.float32)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="tensor weight up to byte .* cut short"):
        safetensors_files.read(epath.Path(tmp_path))
    path.write_bytes(whole[:20])
    with pytest.raises(CheckpointError, match="a header of .* cut short"):
        safetensors_files.read(epath.Path(tmp_path))


def test_pickles_are_never_opened(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin.*save_pretrained"):
        safetensors_files.read(epath.Path(tmp_path))


def test_an_empty_directory_says_what_should_be_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"should hold model\.safetensors"):
        safetensors_files.read(epath.Path(tmp_path))


def test_unknown_dtypes_are_refused(tmp_path):
    entry = {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}
    header = json.dumps({"weight": entry}).encode()
    file = len(header).to_bytes(8, "little") + header + b"\0\0"
    (tmp_path / "model.safetensors").write_bytes(file)
    with pytest.raises(CheckpointError, match="weight has dtype F8_E4M3; supported"):
        safetensors_files.read(epath.Path(tmp_path))
