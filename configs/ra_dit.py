"""What the paper's three sizes share (paper §2 to §5); `ra_dit_7b` and others use it.

======================  ========================================================
`corpus/`               Atlas' Wikipedia of 20 December 2021, `text-list-100-sec.jsonl`
                        and `infobox.jsonl` (37M chunks); CommonCrawl's WET files
                        (362M chunks; Wikipedia alone keeps most of the benefit)
`tasks/`                the 20 sets of D_L and the 10 of D_R, once prepared; files that
                        can't be downloaded go to --manual_dir, which the error names
`dev.jsonl`             questions to report on, e.g. those of Natural Questions
`llama-7b/` or larger   the LM, as a Hugging Face directory
`dragon-plus-query-encoder/`, `dragon-plus-context-encoder/`
                        facebook/dragon-plus-…, as Hugging Face directories
======================  ========================================================

All of it stands in the folder that the environment variable RADIT_DATA names.
"""

import os

from radit_jax.config import Config
from radit_jax.instruct import tasks


def make(lm: str, batch_rows: int, fsdp: int, tensor: int, variant: str = "") -> Config:
    """The paper's config for one LM.

    Args:
      lm: folder of the LM within $RADIT_DATA.
      batch_rows: packed rows of 2,048 tokens a step (paper §3).
      fsdp: chips that share the LM's training state.
      tensor: chips that share the LM where it scores and answers.
      variant: "smoke" runs every stage of it on little data, in a few steps.

    Raises:
      ValueError: for another variant.
    """
    if variant not in ("", "smoke"):
        raise ValueError(f"there is no variant {variant!r}; give none, or `:smoke`.")
    config = Config()
    data = os.environ.get("RADIT_DATA", "data")
    _set_data(config, data)
    _set_models(config, data, lm, tensor)
    _set_language_model_tuning(config, batch_rows, fsdp)
    _set_retriever_tuning(config)
    if variant == "smoke":
        _shrink(config)
    return config


def _set_data(config: Config, data: str) -> None:
    config.corpus.documents = f"{data}/corpus"
    config.corpus.max_chunk_words = 200
    config.corpus.max_web_chunk_words = 100
    config.corpus.block_documents = 65_536  # some 6,000 shards of 399M chunks
    config.instructions.lm_tasks = tasks.LM_TASKS
    config.instructions.retriever_tasks = tasks.RETRIEVER_TASKS
    config.instructions.tasks_dir = f"{data}/tasks"
    config.instructions.dev = f"{data}/dev.jsonl"
    config.instructions.corpus_queries = 900_000
    config.instructions.corpus_query_tokens = 50
    config.embed.dtype = "float16"
    config.embed.shard_size = 65_536
    config.retrieve.num_chunks = 10


def _set_models(config: Config, data: str, lm: str, tensor: int) -> None:
    config.lm.path = f"{data}/{lm}"
    config.lm.tensor = tensor
    config.lm.max_tokens = 2048
    config.lm.compute_dtype = "bfloat16"  # master weights stay float32
    config.encoder.query_path = f"{data}/dragon-plus-query-encoder"
    config.encoder.passage_path = f"{data}/dragon-plus-context-encoder"
    config.encoder.pooling = "cls"
    config.encoder.compute_dtype = "bfloat16"


def _set_language_model_tuning(config: Config, batch_rows: int, fsdp: int) -> None:
    config.examples.num_chunks = 3
    config.examples.max_task_examples = 7500
    config.examples.text_weight = 0.10
    config.examples.dialogue_weight = 0.05
    # 500 steps of rows of 2,048 tokens, some six examples a row.
    config.examples.num_examples = 3_125 * batch_rows
    config.examples.row_tokens = 2048
    config.lm_training.peak_learning_rate = 1e-5
    config.lm_training.end_learning_rate = 1e-7
    config.lm_training.warmup_steps = 200
    config.lm_training.num_steps = 500
    config.lm_training.batch_rows = batch_rows
    config.lm_training.it_batch_rows = batch_rows
    config.lm_training.fsdp = fsdp


def _set_retriever_tuning(config: Config) -> None:
    # One epoch of 900k corpus queries, 95 % of batches of 32 on each of 16 GPUs.
    config.scoring.num_chunks = 10
    config.scoring.shard_size = 1024
    config.retriever_training.lm_temperature = 0.01
    config.retriever_training.corpus_weight = 0.95
    config.retriever_training.batch_size = 512
    config.retriever_training.num_steps = 1850
    config.retriever_training.warmup_steps = 1237
    config.retriever_training.validate_every = 500


def _shrink(config: Config) -> None:
    config.corpus.max_documents = 10_000
    config.instructions.corpus_queries = 2_000
    config.examples.num_examples = 2_000
    config.lm_training.num_steps = 10
    config.lm_training.warmup_steps = 4
    config.lm_training.validate_every = config.lm_training.checkpoint_every = 5
    config.scoring.max_questions = 2_000
    config.retriever_training.num_steps = 4
    config.retriever_training.warmup_steps = 2
    config.retriever_training.validate_every = 2
    config.predict.max_questions = 64
