import json

import pytest
from etils import epath

from radit_jax.models import sentence_transformers
from radit_jax.models.sentence_transformers import Settings
from radit_jax.models.weights import CheckpointError

OLD = "sentence_transformers.models"
OLD_MEAN = {
    "word_embedding_dimension": 12,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
}
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def write(folder, types, pooling, transformer=None, tokenizer=None, encoder=""):
    """A directory's small files; `encoder` is the encoder's folder in it."""
    paths = (encoder, "1_Pooling", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (kind, path) in enumerate(zip(types, paths, strict=False))
    ]
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        f"{encoder}/sentence_bert_config.json": transformer,
        f"{encoder}/tokenizer_config.json": tokenizer,
    }
    for name, value in files.items():
        if value is not None:
            path = folder / name.lstrip("/")
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(json.dumps(value))
    return folder


def test_a_directory_of_the_old_form(tmp_path):
    write(
        tmp_path,
        [f"{OLD}.Transformer", f"{OLD}.Pooling", f"{OLD}.Normalize"],
        OLD_MEAN,
        {"max_seq_length": 128, "do_lower_case": False},
    )
    found = sentence_transformers.read(tmp_path)
    assert found == Settings(found.folder, "mean", True, 128)
    assert str(found.folder) == str(tmp_path)


@pytest.mark.parametrize(("limit", "expected"), [(192, 192), (int(1e30), 0)])
def test_a_directory_of_the_new_form(tmp_path, limit, expected):
    write(
        tmp_path,
        [NEW["Transformer"], NEW["Pooling"]],
        {"embedding_dimension": 12, "pooling_mode": "cls", "include_prompt": True},
        {"transformer_task": "feature-extraction"},
        {"model_max_length": limit},
    )
    found = sentence_transformers.read(tmp_path)
    assert found == Settings(found.folder, "cls", False, expected)


def test_an_encoder_in_a_folder_of_its_own(tmp_path):
    types = [f"{OLD}.Transformer", f"{OLD}.Pooling"]
    length = {"max_seq_length": 64}
    write(tmp_path, types, OLD_MEAN, length, encoder="0_Transformer")
    found = sentence_transformers.read(tmp_path)
    assert (found.folder.name, found.max_tokens) == ("0_Transformer", 64)


def test_a_directory_of_another_kind(tmp_path):
    assert sentence_transformers.read(tmp_path) is None


def test_a_module_that_is_not_computed_here(tmp_path):
    write(tmp_path, [NEW["Transformer"], NEW["Pooling"], f"{OLD}.Dense"], OLD_MEAN)
    with pytest.raises(CheckpointError, match=r"'Dense'\]; supported here are"):
        sentence_transformers.read(tmp_path)


def test_settings_that_change_the_maths_are_refused_together(tmp_path):
    pooling = OLD_MEAN | {"pooling_mode_max_tokens": True, "include_prompt": False}
    types = [NEW["Transformer"], NEW["Pooling"]]
    write(tmp_path, types, pooling, {"do_lower_case": True})
    with pytest.raises(CheckpointError, match="has 3 problem") as error:
        sentence_transformers.read(tmp_path)
    for problem in (r"['mean', 'max_tokens']", "include_prompt", "do_lower_case=true"):
        assert problem in str(error.value)


@pytest.mark.parametrize("normalize", [True, False])
def test_what_is_written_is_read_back(tmp_path, normalize):
    (tmp_path / "config.json").write_text('{"hidden_size": 12}')
    settings = Settings(epath.Path(tmp_path), "cls", normalize, 48)
    sentence_transformers.write(tmp_path, settings)
    assert sentence_transformers.read(tmp_path) == settings
