"""Stage 1: documents → chunk store."""

import dataclasses
import hashlib
import json

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.corpus import pipeline
from radit_jax.workdir import Workdir

# On these what is written doesn't depend, or only by a hash of what the path holds.
_LEFT_OUT = ("runner", "runner_options", "max_bad_share", "benchmarks")


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Splits every document into chunks, numbered in reading order.

    Raises:
      CorpusError: with the problems found in the documents.
    """
    benchmarks = config.corpus.benchmarks or config.instructions.dev
    corpus = dataclasses.replace(config.corpus, benchmarks=benchmarks)
    section = config.section("corpus")["corpus"]
    settings = {key: section[key] for key in section if key not in _LEFT_OUT}
    inputs = {"documents": fingerprint.hash_files(corpus.documents)}
    if corpus.decontaminate:
        inputs["benchmarks"] = fingerprint.hash_files(benchmarks)
    with artifacts.writing(
        workdir.chunks, "chunk_corpus", {"corpus": settings}, inputs, overwrite
    ) as draft:
        if draft is not None and artifacts.is_main_process():
            made_of = json.dumps([settings, inputs], sort_keys=True)
            identity = hashlib.sha256(made_of.encode()).hexdigest()[:16]
            draft.counts |= pipeline.write_store(corpus, draft.path, identity)
    return artifacts.load(workdir.chunks, "chunk_corpus")
