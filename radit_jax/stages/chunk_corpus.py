"""Stage 1: documents → chunk store."""

import dataclasses
import hashlib
import json

from etils import epath

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact
from radit_jax.config import Config, CorpusConfig
from radit_jax.corpus import pipeline
from radit_jax.workdir import Workdir

# On these what is written doesn't depend, or only by a hash of what the path holds.
_LEFT_OUT = ("runner", "runner_options", "max_bad_share", "benchmarks")


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Splits every document into chunks, numbered in reading order.

    Raises:
      CorpusError: with the problems found in the documents.
    """
    path, made_of = output(config, workdir), identity(config, workdir)
    with artifacts.writing(path, "chunk_corpus", *made_of, overwrite) as draft:
        if draft is not None and artifacts.is_main_process():
            sections, inputs = made_of
            text = json.dumps([sections["corpus"], inputs], sort_keys=True)
            name = hashlib.sha256(text.encode()).hexdigest()[:16]
            corpus = _with_benchmarks(config)
            draft.counts |= pipeline.write_store(corpus, draft.path, name)
    return artifacts.load(path, "chunk_corpus")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes."""
    return workdir.chunks


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    section = config.section("corpus")["corpus"]
    settings = {key: section[key] for key in section if key not in _LEFT_OUT}
    corpus = _with_benchmarks(config)
    inputs = {"documents": fingerprint.hash_files(corpus.documents)}
    if corpus.decontaminate:
        inputs["benchmarks"] = fingerprint.hash_files(corpus.benchmarks)
    return {"corpus": settings}, inputs


def _with_benchmarks(config: Config) -> CorpusConfig:
    benchmarks = config.corpus.benchmarks or config.instructions.dev
    return dataclasses.replace(config.corpus, benchmarks=benchmarks)
