"""The toy world on disk: all that a pipeline run needs, in a few hundred kilobytes."""

import json

import jax
import tokenizers
from etils import epath
from flax import nnx
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from radit_jax.models import huggingface
from radit_jax.models.decoder import Decoder, DecoderConfig
from radit_jax.models.encoder import Encoder, EncoderConfig
from radit_jax.text.tokenizer import EncoderTokenizer, LMTokenizer

_PLACES = ("Arvon", "Belmar", "Corvia", "Dunmere", "Elthos", "Farrow", "Galen", "Hest")
_RELATIONS = ("capital", "river", "king", "colour", "dance", "bird")
_VALUES = (
    *("Adar", "Brool", "Cint", "Dreva", "Erem", "Foss", "Gild", "Hune", "Isk", "Jorn"),
    *("Kell", "Lorn", "Mist", "Nend", "Orro", "Pell", "Quan", "Rusk", "Silt", "Tarn"),
)


def write(folder: epath.PathLike) -> epath.Path:
    """Writes documents, questions, an LM and an encoder.

    Every document states one fact ("The river of Corvia is Pell."), every question
    asks for one. Three quarters of the questions train.
    """
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    documents, questions = _facts()
    dev = [q for i, q in enumerate(questions) if i % 4 == 3]
    train = [q for i, q in enumerate(questions) if i % 4 != 3]
    for name, records in (("documents", documents), ("train", train), ("dev", dev)):
        lines = (json.dumps(record) for record in records)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    texts = [d["text"] for d in documents] + [q["question"] for q in questions]
    _write_lm(folder / "lm", texts)
    _write_encoder(folder / "encoder", texts)
    return folder


def _facts() -> tuple[list[dict], list[dict]]:
    documents, questions = [], []
    for i, place in enumerate(_PLACES):
        for j, relation in enumerate(_RELATIONS):
            value = _VALUES[(7 * i + 5 * j + i * j) % len(_VALUES)]
            text = f"The {relation} of {place} is {value} ."
            documents.append({"id": f"{place}-{relation}", "text": text})
            questions.append(
                {
                    "id": f"q-{place}-{relation}",
                    "question": f"What is the {relation} of {place} ?",
                    "answers": [value],
                    "positives": [f"{place}-{relation}"],
                }
            )
    return documents, questions


def lm_tokenizer(texts: list[str]) -> LMTokenizer:
    """A byte-level BPE tokenizer trained on `texts`; bos is 0 and eos is 1."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*texts, "Background: Question: Answer:"], trainer)
    return LMTokenizer(backend, bos_id=0, eos_id=1)


def encoder_tokenizer(texts: list[str]) -> EncoderTokenizer:
    """A word-level tokenizer of the words of `texts`, `[CLS] … [SEP]`."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: i for i, word in enumerate([*special, *words])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return EncoderTokenizer(backend, pad_id=0)


def decoder(vocab_size: int, seed: int = 0, **changes) -> Decoder:
    """A random two-layer LLaMA with grouped key/value heads."""
    settings = {
        "num_layers": 2,
        "width": 32,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_width": 8,
        "mlp_width": 64,
        "max_positions": 256,
    }
    config = DecoderConfig(vocab_size=vocab_size, **(settings | changes))
    return Decoder(config, rngs=nnx.Rngs(seed))


def _write_lm(folder: epath.Path, texts: list[str]) -> None:
    tokenizer = lm_tokenizer(texts)
    huggingface.save_decoder(decoder(tokenizer.vocab_size), folder, tokenizer)


def _write_encoder(folder: epath.Path, texts: list[str]) -> None:
    tokenizer = encoder_tokenizer(texts)
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=1,
        width=64,
        num_heads=4,
        mlp_width=64,
        max_positions=64,
    )
    encoder = Encoder(config, rngs=nnx.Rngs(1))
    # Far apart, so that a mean of word vectors tells texts apart by their words.
    encoder.token_embedding[...] = jax.random.normal(
        jax.random.key(2), encoder.token_embedding.shape
    )
    huggingface.save_encoder(encoder, folder, tokenizer)
