"""The stage's prompts and modes, on a tiny LM."""

import dataclasses

import numpy as np
import pytest
from etils.epath import Path

from radit_jax.config import Config, ConfigError
from radit_jax.corpus.store import ChunkStore
from radit_jax.inference.answerer import Answerer
from radit_jax.stages import predict
from radit_jax.testing import toy
from radit_jax.types import Chunk, Instruction, Retrieved
from radit_jax.workdir import Workdir

CHUNKS = [Chunk(i, f"d{i}", text) for i, text in enumerate(("one x", "two", "three"))]
TOKENIZER = toy.lm_tokenizer(["one two three who is it Pell Isk"])
DECODER = toy.decoder(TOKENIZER.vocab_size)
FOUND = Retrieved(Instruction("q7", "who is it", ("Pell",)), (2, 0), (1.0, 0.5))
SHOWN = [
    Instruction("t0", "who", ("Isk",)),
    Instruction("t1", "is it", ("Pell",)),
]


class Store(ChunkStore):
    def __init__(self):
        pass

    def get_many(self, ids):
        return [CHUNKS[i] for i in ids]


def make(shown=(), max_tokens=200, **settings):
    config = Config()
    config.lm.max_tokens = max_tokens
    config.predict = dataclasses.replace(
        config.predict, max_answer_tokens=4, batch_size=8, **settings
    )
    return Answerer(config, DECODER, TOKENIZER, Store(), shown)


def texts(question):
    return [TOKENIZER.decode(prompt) for prompt in question.prompts]


def test_a_prompt_a_chunk():
    question, lost = make().question({"base": FOUND, "none": _closed()})
    assert texts(question) == [
        "Background: three\n\nQ: who is it\nA:",
        "Background: one x\n\nQ: who is it\nA:",
        "Q: who is it\nA:",
    ]
    assert question.prefix == ()
    assert question.prompts[0][0] == TOKENIZER.bos_id
    assert (question.id, question.gold) == ("q7", "Pell")
    assert question.retrievals["base"].rows == (0, 1)
    weights = np.exp([1.0, 0.5]) / np.exp([1.0, 0.5]).sum()
    np.testing.assert_allclose(
        np.exp(question.retrievals["base"].log_p_r), weights, rtol=1e-6
    )
    assert question.retrievals["none"].rows == (2,)
    assert lost["base"] == {"num_truncated": 0, "num_dropped": 0}


def _closed():
    return Retrieved(FOUND.instruction, (), ())


def test_concatenated_best_first():
    answerer = make(mode="concatenate")
    question, _ = answerer.question({"base": FOUND, "none": _closed()})
    assert texts(question) == [
        "Background: three\none x\n\nQ: who is it\nA:",
        "Q: who is it\nA:",
    ]
    (answer,) = answerer.answer([question])
    base = answer["base"]
    assert len(base.candidates) == 1
    assert base.chunk_answers == base.candidates * 2
    assert base.log_probability == pytest.approx(base.log_likelihood[0, 0], rel=1e-5)


@pytest.mark.parametrize("mode", ["answer_ensemble", "token_ensemble", "concatenate"])
def test_closed_book_is_the_same_in_all_modes(mode):
    found = {"none": _closed()}
    answerer = make(mode=mode, num_chunks=0)
    question, _ = answerer.question(found)
    (answer,) = answerer.answer([question])
    plain = make()
    (expected,) = plain.answer([plain.question(found)[0]])
    assert answer["none"].text == expected["none"].text
    assert question.retrievals["none"].log_p_r == (0.0,)


def test_demonstrations_are_a_prefix():
    question, lost = make(SHOWN).question({"base": FOUND})
    shown = "Q: who\nA: Isk\n\nQ: is it\nA: Pell\n\n"
    assert TOKENIZER.decode(question.prefix) == shown
    assert question.prefix[0] == TOKENIZER.bos_id
    assert texts(question)[0] == "Background: three\n\nQ: who is it\nA:"
    assert lost["base"]["num_dropped"] == 0


def test_long_inputs_are_cut_and_counted():
    whole, _ = make(SHOWN).question({"base": FOUND})
    longest = len(whole.prefix) + max(map(len, whole.prompts)) + 4
    _, lost = make(SHOWN, longest - 1).question({"base": FOUND})
    assert lost["base"] == {"num_truncated": 1, "num_dropped": 0}
    question, lost = make(SHOWN, len(whole.prefix) + 10).question({"base": FOUND})
    assert lost["base"]["num_dropped"] >= 1
    assert texts(question)[0].endswith("Q: who is it\nA:")


def test_drawn_answers_depend_on_the_seed_alone():
    hot = {"temperature": 2.0, "stop": ()}
    found = {"base": FOUND}

    def said(**settings):
        answerer = make(**hot, **settings)
        question, _ = answerer.question(found)
        return answerer.answer([question])[0]["base"].chunk_answers

    assert said() == said() != said(seed=1)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("mode", "vote", "predict.mode is 'vote'; choose one of"),
        ("temperature", -1.0, "predict.temperature is -1.0; give 0 or more"),
        ("top_p", 1.5, "predict.top_p is 1.5; give a share up to 1"),
        ("top_p", 0.0, "predict.top_p is 0.0; give a number above 0"),
        ("stop", "\n", "predict.stop is .*; give a tuple of texts"),
        ("stop", ("",), "predict.stop is .*; give a tuple of texts"),
        ("num_chunks", -1, "predict.num_chunks is -1; give 0 or more"),
    ],
)
def test_refuses(field, value, match):
    config = Config()
    setattr(config.predict, field, value)
    with pytest.raises(ConfigError, match=match):
        config.validate("predict")


def test_refuses_closed_book_with_a_retriever():
    config = Config()
    config.predict.num_chunks = 0
    config.validate("predict")
    config.predict.retrievers = ("none", "base")
    with pytest.raises(ConfigError, match=r"closed book, but .* to weigh: \['base'\]"):
        config.validate("predict")


def test_closed_book_asks_without_a_retriever():
    config = Config()
    config.predict.num_chunks = 0
    assert predict._with_retrievers(config).predict.retrievers == ("none",)


def test_more_demonstrations_than_questions(monkeypatch):
    monkeypatch.setattr(
        predict.inputs, "read_retrieved", lambda *_: [FOUND, _closed(), FOUND]
    )
    settings = dataclasses.replace(Config().predict, num_demonstrations=2, seed=5)
    one = predict._demonstrations(settings, Workdir(Path("nowhere")))
    assert one == predict._demonstrations(settings, Workdir(Path("nowhere")))
    assert len(one) == 2
    settings.num_demonstrations = 4
    with pytest.raises(ValueError, match="num_demonstrations=4, but there are 3 train"):
        predict._demonstrations(settings, Workdir(Path("nowhere")))
