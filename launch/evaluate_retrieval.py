r"""Measures retrieval against known positives, and prints the table.

Of a run with stages 1 and 2 (see configs/wiki_mix.py), each kind of retriever:

    python -m launch.evaluate_retrieval --config=configs/wiki_mix.py --workdir=runs/w

An encoder on a set in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/test.tsv),
searched exactly, by BEIR's conventions; of the config only the encoder is read:

    python -m launch.evaluate_retrieval --config=… --workdir=runs/nq --beir=sets/nq

For published numbers, set what the publishers set: pooling, normalize, prefixes, and
max_query_tokens and max_passage_tokens (BEIR's code cuts questions and passages at the
same length: 256 for MiniLM, 512 for most).
"""

import dataclasses
from collections.abc import Sequence

from absl import flags, logging

from launch import cli
from radit_jax.artifacts import Artifact
from radit_jax.stages import (
    build_index,
    embed_corpus,
    evaluate_beir,
    evaluate_retrieval,
)

_BEIR = flags.DEFINE_string("beir", None, "Folder of a set in BEIR's layout.")
_SYSTEMS = flags.DEFINE_list(
    "systems", list(evaluate_retrieval.SYSTEMS), "Retrievers to measure."
)
_ALLOW_MISSING = flags.DEFINE_bool(
    "allow_missing", False, "Count positives that the corpus lacks as not found."
)


def main(argv: Sequence[str]) -> None:
    """Measures, and prints the table that it wrote."""
    cli.refuse_arguments(argv)
    measured = _measure_beir() if _BEIR.value else _measure_run()
    print((measured.path / "table.md").read_text())
    logging.info("Written to %s.", measured.path)


def _measure_run() -> Artifact:
    sections = ("corpus", "instructions", "encoder", "index", "retrieve", "evaluation")
    config, workdir = cli.prepare(*sections)
    overwrite = cli.OVERWRITE.value
    if {"bm25", "hybrid"} & set(_SYSTEMS.value):
        words = dataclasses.replace(config.retrieve, kind="bm25")
        build_index.run(dataclasses.replace(config, retrieve=words), workdir, overwrite)
    return evaluate_retrieval.run(
        config, workdir, _SYSTEMS.value, _ALLOW_MISSING.value, overwrite
    )


def _measure_beir() -> Artifact:
    config, workdir = cli.prepare("encoder", "embed", "evaluation")
    overwrite = cli.OVERWRITE.value
    evaluate_beir.chunk(config, workdir, _BEIR.value, overwrite)
    embed_corpus.run(config, workdir, overwrite)
    return evaluate_beir.run(
        config, workdir, _BEIR.value, _ALLOW_MISSING.value, overwrite
    )


if __name__ == "__main__":
    cli.run_main(main)
