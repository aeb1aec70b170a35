"""The quickstart's own models against transformers; `-m real_models` runs them.

`python -m launch.fetch_quickstart` fetches them into RADIT_CACHE (".cache").
"""

import os

import numpy as np
import pytest
from flax import nnx

from radit_jax.corpus import quickstart
from radit_jax.models import huggingface, pretrained

from .conftest import assert_close, run, torch
from .conftest import transformers as hf

pytestmark = [
    pytest.mark.real_models,
    # transformers' own; none of it is ours to fix.
    pytest.mark.filterwarnings("default"),
]
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT = (
    "Background: Marie Curie won the Nobel Prize in Physics in 1903 and the Nobel "
    "Prize in Chemistry in 1911.\n\nQ: when did she win the second?\nA: 1911"
)
TEXTS = [
    PROMPT,
    " Paris",
    "  two  spaces and a tail  ",
    "naïve café – “quotes” 日本語 한국어 😀 \t tab\r\nnew line",
    "don't I'll we've THEY'RE 12345 3.14159 x1y2 1,000,000",
    "a\n\n\n  b\u00a0c\u200bd",
    "def f(x):\n    return x**2  # ok\n",
    "https://example.org/a?b=c&d=%20",
    "ＦＵＬＬ width, “ok”",
]


def fetched(wheel):
    folder = wheel.folder(os.environ.get("RADIT_CACHE", ".cache"))
    if not folder.exists():
        pytest.skip(f"{folder} is not there; run `python -m launch.fetch_quickstart`")
    return folder


@pytest.fixture(scope="module")
def folder():
    return fetched(quickstart.LANGUAGE_MODEL)


@pytest.fixture(scope="module")
def ours(folder):
    return pretrained.load_lm(folder / GGUF)


@pytest.fixture(scope="module")
def theirs(folder):
    pytest.importorskip("accelerate", reason="transformers reads GGUF with it only")
    return hf.AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF).eval()


def read(decoder, tokenizer):
    """(token ids, our log-probabilities) of the prompt."""
    tokens = np.array([tokenizer.encode(PROMPT)])
    length = tokens.shape[1]
    positions = np.arange(length)[None]
    mask = np.tril(np.ones((length, length), bool))[None]
    hidden = run(decoder, tokens, positions, mask)
    logits = torch.tensor(np.asarray(decoder.logits(hidden)))
    return torch.tensor(tokens), torch.log_softmax(logits, -1)


def test_smollm2_token_ids_equal_transformers(folder, ours):
    _, tokenizer = ours
    reference = hf.AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    for text in TEXTS:
        expected = reference(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.encode(text) == expected, text
        assert tokenizer.decode(expected) == text
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)


def test_smollm2_splits_digits_of_every_script(ours):
    """As the published tokenizer does; transformers' reading of GGUF does not."""
    _, tokenizer = ours
    for text in (" 7", " ①", " ٣"):
        assert tokenizer.encode(text) == tokenizer.encode(" ") + tokenizer.encode(
            text[1:]
        )


def test_smollm2_log_probabilities_equal_transformers(ours, theirs):
    tokens, log_p = read(*ours)
    with torch.no_grad():
        expected = torch.log_softmax(theirs(tokens).logits, -1)
    # What scoring uses, and then the whole vocabulary, down to exp(-30).
    chosen = [log[0, :-1].gather(-1, tokens[0, 1:, None]) for log in (log_p, expected)]
    assert_close(chosen[0], chosen[1], atol=1e-4)
    assert_close(log_p, expected, atol=1e-3)


def test_smollm2_saved_by_us_opens_in_transformers(tmp_path, ours):
    decoder, tokenizer = ours
    huggingface.save_decoder(decoder, tmp_path / "model", tokenizer)
    copy = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokens, log_p = read(decoder, tokenizer)
    with torch.no_grad():
        assert_close(log_p, torch.log_softmax(copy(tokens).logits, -1), atol=1e-3)
    reference = hf.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert reference(PROMPT)["input_ids"] == tokenizer.encode(PROMPT)


def test_minilm_embeddings_equal_transformers():
    path = fetched(quickstart.ENCODER) / "all-MiniLM-L6-v2"
    tower = pretrained.load_tower(
        path, pooling="mean", normalize=True, max_tokens=64, prefix=""
    )
    texts = ["who won the Nobel Prize in 1911?", PROMPT, "Café – naïve 日本語"]
    ids, mask = tower.tokenize(texts)
    reference = hf.AutoTokenizer.from_pretrained(path)
    batch = reference(texts, padding=True, max_length=64, truncation=True)
    np.testing.assert_array_equal(ids, batch["input_ids"])
    graphdef, params = nnx.split(tower.encoder)
    embeddings = tower.embed(graphdef, params, ids, mask)
    model = hf.AutoModel.from_pretrained(path).eval()
    weights = torch.tensor(mask)[..., None].float()
    with torch.no_grad():
        hidden = model(
            torch.tensor(ids).long(), attention_mask=torch.tensor(mask).long()
        ).last_hidden_state
    mean = (hidden * weights).sum(1) / weights.sum(1)
    assert_close(embeddings, torch.nn.functional.normalize(mean), atol=1e-5)
