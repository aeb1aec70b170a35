r"""Which LM scores, losses and data teach a query tower? MiniLM and SmolLM2-135M.

    python -m launch.study --config=configs/lsr_study.py:FOLDER --workdir=runs/s

FOLDER holds the 61,864 passages and the questions of configs/wiki_mix.py, which says
how to make it (RADIT_WIKI_MIX names it too). Writes study/evaluation/results.json and
study.html, and prints the table. On 2 busy cores an hour after stages 1 and 2, and half
an hour for the last arm, which encodes ten passages a query at each of its steps.
Another run's `chunks` and `embeddings`, copied into the workdir, save those stages.

Each size is a field: --config.scoring.max_questions, .retriever_training.num_steps,
.instructions.max_dev (retrieval is measured on so many dev questions) and
.predict.max_questions (answers, on so many).
"""

from configs import wiki_mix
from radit_jax.config import Config


def get_config(folder: str = "") -> Config:
    """The config; `folder` as in configs/wiki_mix.py.

    Raises:
      ValueError: nothing names a folder.
    """
    config = wiki_mix.get_config(folder)
    # Train questions: some 400 to learn from, some 200 that choose each arm's step.
    config.instructions.max_train = 600
    config.instructions.validation_fraction = 0.34
    config.instructions.corpus_queries = 48
    config.index.kind = "exact"
    config.retrieve.num_chunks = 10
    config.retrieve.splits = ()  # all
    config.scoring.num_chunks = 10
    config.scoring.max_questions = 256
    training = config.retriever_training
    # As their numbers are, so that no query comes more often than another. The paper's
    # is 0.95, of 900,000 queries.
    training.corpus_weight = 48 / (48 + 256)
    training.peak_learning_rate = 2e-5
    training.warmup_steps = 4
    training.num_steps = 32
    training.batch_size = 32
    training.checkpoint_every = 16
    training.validate_every = 8
    config.predict.num_chunks = 5
    config.predict.max_questions = 200
    return config
