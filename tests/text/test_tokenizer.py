"""Segments: what is encoded apart decodes to the whole; and files in and out."""

import json

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from radit_jax.text.tokenizer import EncoderTokenizer, LMTokenizer, TokenizerError
from tests.text import llama_spaces

SPECIAL = ["<s>", "</s>"]  # ids 0 and 1
SEGMENTS = (
    "Background: Zürich  is 日本𝔘\u2029.\n\n",
    "Q: a  </s><s> b?\n\tA:",
    " Paris\n",
    "",
    " ",
    "  two",
)


def byte_level(add_prefix_space=False):
    """GPT-2's kind; with `add_prefix_space`, RoBERTa's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet, "ĠP", "ar"])}
    backend = tokenizers.Tokenizer(
        models.BPE(vocabulary, [("Ġ", "P"), ("a", "r")], unk_token=None)
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return with_specials(backend)


def sentence_piece():
    """LLaMA's BPE: "▁" for a space, letters, and a token for each byte of the rest."""
    letters = [chr(i) for i in range(33, 127)]
    tokens = [*SPECIAL, "<unk>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *letters]
    tokens += ["▁P", "ar", "▁Q"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = [("▁", "P"), ("a", "r"), ("▁", "Q")]
    return tokenizers.Tokenizer(
        models.BPE(
            vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True
        )
    )


def llama():
    """As Llama 2's tokenizer.json of 2023: the space is put by the normalizer."""
    backend = sentence_piece()
    llama_spaces.add(backend)
    return with_specials(backend)


def metaspace():
    """As newer files have it: the space is put by the pre-tokenizer."""
    backend = sentence_piece()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme="always", split=False
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Metaspace(prepend_scheme="always", split=False),
            decoders.Fuse(),
        ]
    )
    return with_specials(backend)


def with_specials(backend):
    backend.add_special_tokens(SPECIAL)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return backend


BACKENDS = {
    "byte_level": byte_level,
    "byte_level_prefix": lambda: byte_level(add_prefix_space=True),
    "llama": llama,
    "metaspace": metaspace,
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    return BACKENDS[request.param]()


def write_directory(path, backend, config=None, **files):
    path.mkdir(exist_ok=True)
    backend.save(str(path / "tokenizer.json"))
    if config is None:
        config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}}
    for name, content in (files | {"tokenizer_config": config}).items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def test_segments_decode_to_the_whole(backend):
    tokenizer = LMTokenizer(backend, 0, 1)
    ids = [i for segment in SEGMENTS for i in tokenizer.encode(segment)]
    assert tokenizer.decode(ids) == "".join(SEGMENTS)
    tokenizer.check_lossless()


def test_a_segment_is_neither_opened_nor_closed(backend):
    tokenizer = LMTokenizer(backend, 0, 1)
    ids = tokenizer.encode("Par")
    assert ids == [backend.token_to_id("P"), backend.token_to_id("ar")]
    assert tokenizer.encode("") == []
    assert tokenizer.encode("Q") + tokenizer.encode(" Par") == tokenizer.encode("Q Par")


def test_text_that_looks_like_a_special_token_is_text(backend):
    tokenizer = LMTokenizer(backend, 0, 1)
    assert not {0, 1} & set(tokenizer.encode("a</s><s>"))
    assert tokenizer.decode([0, *tokenizer.encode("a</s>"), 1]) == "a</s>"


def test_spans_are_the_characters_behind_each_id(backend):
    tokenizer = LMTokenizer(backend, 0, 1)
    text = " Par é"
    assert len(tokenizer.spans(text)) == len(tokenizer.encode(text))
    assert tokenizer.spans(text) == [(0, 2), (2, 4), (4, 5), (5, 6), (5, 6)]


def test_vocabulary_reaches_the_highest_id():
    backend = byte_level()
    assert LMTokenizer(backend, 0, 1).vocab_size == 260
    assert LMTokenizer(backend, 0, 1, vocab_size=300).vocab_size == 300


def test_the_published_tokenizer_is_not_changed(backend):
    before = backend.to_str()
    LMTokenizer(backend, 0, 1).encode("text")
    assert backend.to_str() == before


def test_from_directory(tmp_path, backend):
    tokenizer = LMTokenizer.from_directory(write_directory(tmp_path / "lm", backend))
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, 1)
    ids = [i for segment in SEGMENTS for i in tokenizer.encode(segment)]
    assert tokenizer.decode(ids) == "".join(SEGMENTS)


@pytest.mark.parametrize(
    ("files", "bos_id", "eos_id"),
    [
        ({"config": {"bos_token": None, "eos_token": "</s>"}}, None, 1),
        ({"config": {}, "special_tokens_map": {"eos_token": "</s>"}}, None, 1),
        (
            {
                "config": {"bos_token": "", "eos_token": "</s>"},
                "special_tokens_map": {"bos_token": {"content": "<s>"}},
            },
            0,
            1,
        ),
        # A published null is a decision, which the model's config does not overrule.
        (
            {"config": {"bos_token": None, "eos_token": "<s>"}, "model": {}},
            None,
            0,
        ),
        ({"config": {}, "model": {"bos_token_id": 0, "eos_token_id": [1, 5]}}, 0, 1),
    ],
)
def test_special_tokens_come_from_the_first_file_that_names_them(
    tmp_path, files, bos_id, eos_id
):
    write_directory(
        tmp_path,
        byte_level(),
        files["config"],
        special_tokens_map=files.get("special_tokens_map", {}),
    )
    model = files.get("model", {"bos_token_id": 5, "eos_token_id": 6})
    if "model" in files:
        (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": 5} | model))
    tokenizer = LMTokenizer.from_directory(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (bos_id, eos_id)


def test_no_end_of_sequence_token(tmp_path):
    write_directory(tmp_path, byte_level(), {"bos_token": "<s>"})
    with pytest.raises(TokenizerError, match="no end-of-sequence token. Add 'eos_tok"):
        LMTokenizer.from_directory(tmp_path)


def test_an_unknown_special_token(tmp_path):
    write_directory(tmp_path, byte_level(), {"eos_token": "<end>"})
    match = "tokenizer_config.json names '<end>' as its eos_token, but .* Correct the"
    with pytest.raises(TokenizerError, match=match):
        LMTokenizer.from_directory(tmp_path)


def test_no_directory(tmp_path):
    with pytest.raises(TokenizerError, match="no directory .*nowhere.* Name a Hugging"):
        LMTokenizer.from_directory(tmp_path / "nowhere")


def test_a_damaged_file(tmp_path):
    write_directory(tmp_path, byte_level())
    (tmp_path / "tokenizer.json").write_text('{"version"')
    with pytest.raises(
        TokenizerError, match="tokenizer.json can't be read: .* Copy th"
    ):
        LMTokenizer.from_directory(tmp_path)


def test_a_directory_without_a_tokenizer(tmp_path):
    match = r"(?s)has no tokenizer.json, and its other files can't be .*save_pretrained"
    with pytest.raises(TokenizerError, match=match):
        LMTokenizer.from_directory(tmp_path)


def test_a_tokenizer_that_loses_text(tmp_path):
    write_bert(tmp_path, {"eos_token": "[SEP]"})
    match = r"this tokenizer turns .* into .*: text is lost, .* Point --config.lm.path"
    with pytest.raises(TokenizerError, match=match):
        LMTokenizer.from_directory(tmp_path)


def test_transformers_opens_what_is_saved(tmp_path, backend):
    import transformers

    LMTokenizer(backend, 0, 1).save(tmp_path / "made")
    source = write_directory(
        tmp_path / "source", backend, {"eos_token": "</s>", "x": 1}
    )
    LMTokenizer.from_directory(source).save(tmp_path / "copied")
    copied = json.loads((tmp_path / "copied" / "tokenizer_config.json").read_text())
    assert copied == {"eos_token": "</s>", "x": 1}
    for name in ("made", "copied"):
        opened = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        # The published habits are kept: bos, and the space before the text.
        assert opened("Par é").input_ids == backend.encode("Par é").ids
        assert opened.eos_token_id == 1
        again = LMTokenizer.from_directory(tmp_path / name)
        assert again.encode(" Par é") == LMTokenizer(backend, 0, 1).encode(" Par é")


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cap", "##ital", "."]


def write_bert(path, config=None):
    """An uncased BERT tokenizer that, as published ones do, pads and cuts by itself."""
    backend = tokenizers.Tokenizer(
        models.WordPiece({token: i for i, token in enumerate(BERT)}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(BERT[:5])
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.enable_truncation(4)
    backend.enable_padding(length=12)
    return write_directory(path, backend, config or {"pad_token": "[PAD]"})


def test_encoder_batch(tmp_path):
    tokenizer = EncoderTokenizer.from_directory(write_bert(tmp_path))
    ids, mask = tokenizer.encode_batch(["The capital.", "", "cap the the the the"], 6)
    np.testing.assert_array_equal(
        ids, [[2, 5, 6, 7, 8, 3], [2, 3, 0, 0, 0, 0], [2, 6, 5, 5, 5, 3]]
    )
    np.testing.assert_array_equal(mask.sum(axis=1), [6, 2, 6])
    np.testing.assert_array_equal(mask[1], [True, True, *[False] * 4])
    assert (ids.dtype, mask.dtype) == (np.int32, np.bool_)
    longer, _ = tokenizer.encode_batch(["cap the the the the"], 50)
    assert longer.shape == (1, 7)
    assert tokenizer.encode_batch([], 6)[0].shape == (0, 0)
    assert tokenizer.vocab_size == len(BERT)


def test_encoder_pads_with_its_own_token(tmp_path):
    write_bert(tmp_path, {"pad_token": "[MASK]"})
    ids, _ = EncoderTokenizer.from_directory(tmp_path).encode_batch(["the the", ""], 9)
    assert ids[1].tolist() == [2, 3, 4, 4]


def test_encoder_without_padding_token(tmp_path):
    write_bert(tmp_path, {"cls_token": "[CLS]"})
    with pytest.raises(
        TokenizerError, match="no padding token. Add 'pad_token' to its"
    ):
        EncoderTokenizer.from_directory(tmp_path)


def test_encoder_from_a_vocabulary_alone(tmp_path):
    """As directories older than tokenizer.json have it."""
    (tmp_path / "vocab.txt").write_text("\n".join(BERT) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "bert", "pad_token_id": 0}')
    tokenizer = EncoderTokenizer.from_directory(tmp_path)
    ids, _ = tokenizer.encode_batch(["The capital."], 9)
    assert ids.tolist() == [[2, 5, 6, 7, 8, 3]]


def test_transformers_opens_a_saved_encoder_tokenizer(tmp_path):
    import transformers

    source = write_bert(tmp_path / "source")
    EncoderTokenizer.from_directory(source).save(tmp_path / "saved")
    opened = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    expected, _ = EncoderTokenizer.from_directory(source).encode_batch(["the cap"], 9)
    assert opened("the cap").input_ids == expected[0].tolist()
    assert opened.pad_token_id == 0
    assert (tmp_path / "saved" / "tokenizer.json").read_text() == (
        source / "tokenizer.json"
    ).read_text()
