"""Stage 1: documents → chunk store."""

import itertools

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact
from radit_jax.config import Config, CorpusConfig
from radit_jax.corpus import documents, store
from radit_jax.stages import inputs
from radit_jax.text import chunking
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Splits every document into chunks, numbered in reading order.

    Raises:
      documents.CorpusError: with the problems found in the documents.
    """
    corpus = config.corpus
    with artifacts.writing(
        workdir.chunks,
        "chunk_corpus",
        config.section("corpus"),
        {"documents": fingerprint.hash_files(corpus.documents)},
        overwrite,
    ) as draft:
        if draft is not None and artifacts.is_main_process():
            chunks = _chunks(corpus, draft.counts)
            with draft.file(inputs.CHUNKS_FILE) as path:
                store.write_chunks(path, chunks)
    return artifacts.load(workdir.chunks, "chunk_corpus")


def _chunks(corpus: CorpusConfig, counts: dict):
    counts |= {"documents": 0, "chunks": 0, "words": 0}
    found = documents.read_documents(
        corpus.documents,
        id_field=corpus.id_field,
        title_field=corpus.title_field,
        text_field=corpus.text_field,
    )
    for document in itertools.islice(found, corpus.max_documents or None):
        counts["documents"] += 1
        chunks = chunking.chunk_document(
            document, corpus.max_chunk_words, counts["chunks"]
        )
        counts["chunks"] += len(chunks)
        counts["words"] += sum(len(chunk.text.split()) for chunk in chunks)
        yield from chunks
