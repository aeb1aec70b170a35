"""One of two processes that answer together: what test_processes.py starts."""

import json
import sys

import jax
import numpy as np
from etils import epath

from radit_jax.inference.choices import ChoiceQuestion, choose
from radit_jax.inference.ensemble import answer_ensemble
from radit_jax.inference.questions import Question, Retrieval
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.token_ensemble import token_ensemble
from radit_jax.training.mesh import make_mesh

from .reference import EOS, make_decoder, random_texts
from .tokenizer import DECODING, TOKENIZER

PROMPTS = random_texts(25, 8, 3, 60)
WEIGHTS = tuple(np.log([0.5, 0.3, 0.2]))
PREFIX = tuple(random_texts(8, 1, 25, 40)[0])
QUESTIONS = [
    Question(PROMPTS[:3], {"base": Retrieval((0, 1, 2), WEIGHTS)}, prefix=PREFIX),
    Question(PROMPTS[3:6], {"base": Retrieval((2, 1, 0), WEIGHTS)}, gold="ABC"),
]
CHOICE = ChoiceQuestion(
    PROMPTS[6:], {"none": Retrieval((1,), (0.0,))}, [[7, 8], [9]], [2, 1]
)


def answers(mesh) -> dict:
    """What is said and scored on these devices."""
    sampler = Sampler(make_decoder(), eos_id=EOS, mesh=mesh)
    mixed = answer_ensemble(sampler, TOKENIZER, QUESTIONS, 8, DECODING)
    by_token = token_ensemble(sampler, TOKENIZER, QUESTIONS, 24, DECODING)
    (choice,) = choose(sampler, [CHOICE], batch_size=8)
    return {
        "texts": [list(answer["base"].chunk_answers) for answer in mixed],
        "by_token": [answer["base"].text for answer in by_token],
        "log_probability": [answer["base"].log_probability for answer in mixed],
        "nll": choice["none"].scores["nll"].tolist(),
    }


def run(process: int, port: str, folder: epath.Path) -> None:
    """Answers on the devices of both processes, and saves it."""
    jax.distributed.initialize(f"localhost:{port}", 2, process)
    assert (jax.local_device_count(), jax.device_count()) == (4, 8)
    (folder / f"{process}.json").write_text(json.dumps(answers(make_mesh(tensor=2))))


if __name__ == "__main__":
    run(int(sys.argv[1]), sys.argv[2], epath.Path(sys.argv[3]))
