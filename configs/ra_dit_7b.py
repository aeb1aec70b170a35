"""RA-DIT 7B as the paper trained it: LLaMA 7B and DRAGON+ (paper §2 to §5).

    export RADIT_DATA=…             # a folder with what is listed below
    python -m launch.prepare_tasks --tasks_dir=$RADIT_DATA/tasks
    python -m launch.run_pipeline --config=configs/ra_dit_7b.py --workdir=…

======================  ========================================================
`corpus/`               Atlas' Wikipedia of 20 December 2021, `text-list-100-sec.jsonl`
                        and `infobox.jsonl` (37M chunks); CommonCrawl's WET files
                        (362M chunks; Wikipedia alone keeps most of the benefit)
`tasks/`                the 20 sets of D_L and the 10 of D_R, once prepared; files that
                        can't be downloaded go to --manual_dir, which the error names
`dev.jsonl`             questions to report on, e.g. those of Natural Questions
`llama-7b/`             the LM, as a Hugging Face directory
`dragon-plus-query-encoder/`, `dragon-plus-context-encoder/`
                        facebook/dragon-plus-…, as Hugging Face directories
======================  ========================================================

Hardware: the paper had 8 A100s for the LM and 16 for the retriever. Untried here at
this size; every stage of it has run on the paper's sets in small.
"""

import os

from radit_jax.config import Config
from radit_jax.instruct import tasks


def get_config() -> Config:
    """The config, with every hyper-parameter of the paper's that differs by model."""
    config = Config()
    data = os.environ.get("RADIT_DATA", "data")
    _set_data(config, data)
    _set_models(config, data)
    _set_language_model_tuning(config)
    _set_retriever_tuning(config)
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


def _set_models(config: Config, data: str) -> None:
    config.lm.path = f"{data}/llama-7b"
    config.lm.max_tokens = 2048
    config.lm.compute_dtype = "bfloat16"  # master weights stay float32
    config.encoder.query_path = f"{data}/dragon-plus-query-encoder"
    config.encoder.passage_path = f"{data}/dragon-plus-context-encoder"
    config.encoder.pooling = "cls"
    config.encoder.compute_dtype = "bfloat16"


def _set_language_model_tuning(config: Config) -> None:
    config.examples.num_chunks = 3
    config.examples.max_task_examples = 7500
    config.examples.text_weight = 0.10
    config.examples.dialogue_weight = 0.05
    config.examples.num_examples = 200_000  # 500 steps of 64 rows of 2,048 tokens
    config.examples.row_tokens = 2048
    config.lm_training.peak_learning_rate = 1e-5
    config.lm_training.end_learning_rate = 1e-7
    config.lm_training.warmup_steps = 200
    config.lm_training.num_steps = 500
    config.lm_training.batch_rows = config.lm_training.it_batch_rows = 64
    config.lm_training.fsdp = 8


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
