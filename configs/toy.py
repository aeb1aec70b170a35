"""The whole pipeline on the toy world of `radit_jax.testing.toy`, in seconds.

    python -c "from radit_jax.testing import toy; toy.write('/tmp/toy')"
    python -m launch.run_pipeline --config=configs/toy.py:/tmp/toy --workdir=/tmp/run

For the tests, and to try a change quickly. Random models learn little: expect the
losses to fall and the answers to be wrong.
"""

from radit_jax.config import Config


def get_config(folder: str) -> Config:
    """The config for the toy world in `folder`."""
    config = Config()
    config.corpus.documents = f"{folder}/documents.jsonl"
    config.instructions.train = f"{folder}/train.jsonl"
    config.instructions.dev = f"{folder}/dev.jsonl"
    config.instructions.validation_fraction = 0.2
    config.lm.path = f"{folder}/lm"
    config.lm.max_tokens = 64
    config.lm.compute_dtype = config.encoder.compute_dtype = "float32"
    config.encoder.query_path = config.encoder.passage_path = f"{folder}/encoder"
    config.encoder.pooling = "mean"
    config.encoder.normalize = True
    config.encoder.temperature = 0.05
    config.encoder.max_query_tokens = config.encoder.max_passage_tokens = 32
    config.embed.batch_size = 8
    config.embed.shard_size = 16
    config.retrieve.num_chunks = 5
    config.examples.num_chunks = 2
    config.examples.row_tokens = 128
    config.lm_training.peak_learning_rate = 3e-3
    config.lm_training.warmup_steps = 2
    config.lm_training.num_steps = 20
    config.lm_training.batch_rows = 8
    config.lm_training.it_batch_rows = 4
    config.lm_training.checkpoint_every = config.lm_training.validate_every = 5
    config.scoring.num_chunks = 4
    config.scoring.shard_size = 16
    config.retriever_training.corpus_weight = 0.0
    config.retriever_training.peak_learning_rate = 1e-3
    config.retriever_training.warmup_steps = 2
    config.retriever_training.num_steps = 20
    config.retriever_training.batch_size = 8
    config.retriever_training.checkpoint_every = 5
    config.retriever_training.validate_every = 5
    config.predict.num_chunks = 3
    config.predict.max_answer_tokens = 4
    config.predict.batch_size = 8
    config.predict.shard_size = 8
    config.evaluation.num_bootstrap = 200
    config.evaluation.num_shown = 3
    return config
