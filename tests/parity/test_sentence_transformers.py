"""Towers against sentence-transformers: its own files, its own encoding of texts."""

import gzip
import os
import pathlib

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from radit_jax.corpus import quickstart
from radit_jax.models import huggingface, pretrained
from radit_jax.retrieval.embedder import Embedder

from .conftest import LENGTH, SIZES, TOKENS, assert_close, draw, run, torch
from .conftest import transformers as hf

peer = pytest.importorskip("sentence_transformers")
peer_modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
pytestmark = pytest.mark.filterwarnings("default")  # its own; none is ours to fix

PASSAGES = pathlib.Path(__file__).parents[3] / "shared/data/wiki_mix/psgs.tsv.gz"
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"w{i}" for i in range(40))]
MASK = np.arange(LENGTH) < np.array([[LENGTH], [6]])


def tokenizer():
    backend = tokenizers.Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=20,
    )


def texts():
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS[4:], size)) for size in (1, 30, 5, 17, 9)]


@pytest.fixture
def bert_path(tmp_path):
    path = tmp_path / "bert"
    draw(hf.BertModel(hf.BertConfig(**SIZES))).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_directory_it_wrote_gives_its_embeddings(
    tmp_path, bert_path, pooling, normalize
):
    transformer = peer_modules.Transformer(str(bert_path))
    modules = [transformer, peer_modules.Pooling(SIZES["hidden_size"], pooling)]
    modules += [peer_modules.Normalize()] if normalize else []
    theirs = peer.SentenceTransformer(modules=modules, device="cpu")
    theirs.save(str(tmp_path / "theirs"))
    tower = pretrained.load_tower(tmp_path / "theirs")
    expected = (pooling, normalize, 20)
    assert (tower.pooling, tower.normalize, tower.max_tokens) == expected
    ours = Embedder(tower).embed(texts())
    np.testing.assert_allclose(ours, theirs.encode(texts()), rtol=0, atol=1e-5)


def test_it_opens_a_directory_that_we_wrote(tmp_path, bert_path):
    settings = {"pooling": "mean", "normalize": True, "max_tokens": 12}
    tower = pretrained.load_tower(bert_path, **settings)
    pretrained.save_tower(tower, tmp_path / "ours")
    theirs = peer.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert theirs.max_seq_length == 12
    ours = Embedder(tower).embed(texts())
    np.testing.assert_allclose(ours, theirs.encode(texts()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["Question", "Context"])
def test_dpr_equals_transformers(tmp_path, kind):
    """[CLS] of the last layer, raw: DPR has no pooler."""
    theirs = draw(getattr(hf, f"DPR{kind}Encoder")(hf.DPRConfig(**SIZES)))
    theirs.save_pretrained(tmp_path)
    hidden = run(huggingface.load_encoder(tmp_path), TOKENS, MASK)
    with torch.no_grad():
        mask = torch.tensor(MASK).long()
        expected = theirs(torch.tensor(TOKENS), attention_mask=mask).pooler_output
    assert_close(hidden[:, 0], expected, atol=1e-4)


def test_dpr_with_a_projection_is_refused(tmp_path):
    config = hf.DPRConfig(**SIZES, projection_dim=8)
    hf.DPRQuestionEncoder(config).save_pretrained(tmp_path)
    with pytest.raises(huggingface.CheckpointError, match="projection_dim=8 changes"):
        huggingface.load_encoder(tmp_path)


@pytest.mark.real_models
@pytest.mark.shared_data
@pytest.mark.skipif(not PASSAGES.exists(), reason=f"{PASSAGES} is not there")
def test_minilm_on_500_real_passages():
    path = quickstart.ENCODER.folder(os.environ.get("RADIT_CACHE", ".cache"))
    if not path.exists():
        pytest.skip(f"{path} is not there; run `python -m launch.fetch_quickstart`")
    path /= "all-MiniLM-L6-v2"
    with gzip.open(PASSAGES, "rt", encoding="utf-8") as lines:
        next(lines)
        passages = [next(lines).split("\t")[1] for _ in range(500)]
    ours = Embedder(pretrained.load_tower(path)).embed(passages)
    theirs = peer.SentenceTransformer(str(path), device="cpu").encode(passages)
    assert np.abs(ours - theirs).max() <= 1e-5
