"""The tokenizers of Llama 2 and 3, TinyLlama and Mistral, from their real files."""

import base64
import difflib
import gzip
import pathlib
import struct

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer
from tests.text import llama_spaces

FOLDER = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tokenizers"
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(
        not FOLDER.exists(), reason=f"the real tokenizer files are not in {FOLDER}"
    ),
]

LLAMA_3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PASSAGES = (
    "Paris: Paris is the capital of France, with 2,102,650 residents in 2023.",
    "Zürich (German: [ˈtsyːrɪç])\n\nis  the largest city; 東京 and 𝔘 are not.  ",
    "He said </s> and <|end_of_text|> and left\tfor 'home'.\r\nThen he's\u00a0back",
)


def varint(content, at):
    value = shift = 0
    while True:
        byte = content[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def fields(content):
    """The (number, value) pairs of a protocol buffer message."""
    at = 0
    while at < len(content):
        key, at = varint(content, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(content, at)
        else:
            size, at = varint(content, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = content[at : at + size], at + size
        yield number, value


def merges_of(ranks):
    """Every way to make a token of two others, by the rank of what is made."""
    merges = []
    for token in sorted(ranks, key=ranks.get):
        pairs = [(token[:i], token[i:]) for i in range(1, len(token))]
        ways = [
            (left, right) for left, right in pairs if left in ranks and right in ranks
        ]
        merges += sorted(ways, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges


def sentence_piece(path):
    """A SentencePiece BPE model as the `tokenizers` package has it."""
    pieces = [dict(fields(v)) for n, v in fields(path.read_bytes()) if n == 1]
    vocabulary = {piece[1].decode(): i for i, piece in enumerate(pieces)}
    # A merge's order is the score of what it makes: "▁▁" is the last, whatever its id.
    scores = [struct.unpack("<f", piece[2])[0] for piece in pieces]
    ordered = sorted(vocabulary, key=lambda token: -scores[vocabulary[token]])
    letters = [token for token in ordered if vocabulary[token] >= 259]
    ranks = {token: i for i, token in enumerate(letters)}
    specials = ["<unk>", "<s>", "</s>"]
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocabulary,
            merges_of(ranks),
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    llama_spaces.add(backend)
    backend.add_special_tokens(specials)
    return backend, LMTokenizer(backend, 1, 2)


def byte_letters():
    """The printable letter that byte-level BPE writes for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in kept]
    letters = {byte: chr(byte) for byte in kept}
    return letters | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def llama_3():
    letters, ranks = byte_letters(), {}
    packed = (FOLDER / "llama3" / "tokenizer.model.gz").read_bytes()
    for line in gzip.decompress(packed).splitlines():
        token, rank = line.split()
        ranks["".join(letters[b] for b in base64.b64decode(token))] = int(rank)
    backend = tokenizers.Tokenizer(
        models.BPE(ranks, merges_of(ranks), ignore_merges=True)
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(LLAMA_3_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    return backend, LMTokenizer(backend, 128_000, 128_001)


def tiny_llama():
    packed = (FOLDER / "tinyllama" / "tokenizer.json.gz").read_bytes()
    backend = tokenizers.Tokenizer.from_buffer(gzip.decompress(packed))
    return backend, LMTokenizer(backend, 1, 2)


OPEN = {
    "llama2": lambda: sentence_piece(FOLDER / "llama2" / "tokenizer.model"),
    "llama3": llama_3,
    "tinyllama": tiny_llama,
    "mistral": lambda: sentence_piece(FOLDER / "mistral" / "tokenizer.model.v1"),
}
SIZES = {"llama2": 32_000, "llama3": 128_002, "tinyllama": 32_000, "mistral": 32_000}


@pytest.fixture(scope="module", params=OPEN)
def opened(request):
    """(published backend, our tokenizer)."""
    backend, tokenizer = OPEN[request.param]()
    assert tokenizer.vocab_size == SIZES[request.param]
    return backend, tokenizer


@pytest.mark.parametrize("passage", PASSAGES)
def test_segments_decode_to_the_whole(opened, passage):
    _, tokenizer = opened
    tokenizer.check_lossless()
    prompt = templates.encode_prompt(
        tokenizer, "x", "Which city?", passage=passage, answer="Zürich"
    )
    ids, _ = templates.fit(prompt, 500)
    assert tokenizer.decode(ids) == (
        f"Background: {passage}\n\nQ: Which city?\nA: Zürich"
    )
    words = passage.split(" ")
    pieces = [words[0], *(f" {word}" for word in words[1:])]
    apart = [i for piece in pieces for i in tokenizer.encode(piece)]
    assert tokenizer.decode(apart) == passage


@pytest.mark.parametrize("passage", PASSAGES[:2])
@pytest.mark.parametrize("markers", [("Q: ", "\n", "A:"), ("", "\n", "Answer:")])
def test_segments_are_near_the_whole_strings_tokens(opened, passage, markers):
    backend, tokenizer = opened
    prompt = templates.encode_prompt(
        tokenizer,
        "x",
        "Which city is it?",
        passage=passage,
        answer="Paris, France",
        markers=templates.Markers(*markers),
    )
    ids = templates.fit(prompt, 500)[0][1:-1]
    whole = backend.encode(tokenizer.decode(ids), add_special_tokens=False).ids
    matcher = difflib.SequenceMatcher(None, ids, whole, autojunk=False)
    equal = sum(block.size for block in matcher.get_matching_blocks())
    # The published tokenizer puts a space before "Background"; no other id differs.
    assert len(whole) - equal <= 1
    assert len(ids) - equal <= 1


def test_the_answers_tokens_are_the_natural_ones(opened):
    """ " Paris" is one token, as it is within a sentence."""
    backend, tokenizer = opened
    (paris,) = tokenizer.encode(templates.answer_block("Paris"))
    assert paris in backend.encode("It is Paris").ids


def test_llama_2_read_from_sentence_piece_is_tiny_llama():
    _, ours = OPEN["llama2"]()
    _, published = OPEN["tinyllama"]()
    for passage in PASSAGES:
        assert ours.encode(passage) == published.encode(passage)
