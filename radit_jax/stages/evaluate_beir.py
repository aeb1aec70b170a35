"""Beside the pipeline: an encoder's numbers on a retrieval set in BEIR's layout."""

import numpy as np
from etils import epath

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config
from radit_jax.corpus import store
from radit_jax.evaluation import retrieval_quality
from radit_jax.progress import Progress
from radit_jax.retrieval import beir, trec
from radit_jax.retrieval.embedder import Embedder
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.retriever import DenseSearcher, Retriever
from radit_jax.retrieval.trec import Ranking
from radit_jax.stages import inputs
from radit_jax.types import Instruction
from radit_jax.workdir import Workdir

_BATCH = 16  # questions: each brings a thousand rows to be scored exactly


def chunk(
    config: Config, workdir: Workdir, folder: epath.PathLike, overwrite: bool = False
) -> Artifact:
    """The set's documents as the workdir's chunk store, for stage 2 to embed.

    Raises:
      CorpusError: documents or judgements that can't be read, or do not fit together.
    """
    qrels = beir.read_qrels(folder)
    beir.read_questions(folder, qrels)  # what is wrong is said before hours of work
    corpus = epath.Path(folder).expanduser() / "corpus.jsonl"
    with artifacts.writing(
        workdir.chunks,
        "chunk_corpus",
        {"corpus": {"layout": "beir"}},
        {"documents": fingerprint.hash_files(corpus)},
        overwrite,
    ) as draft:
        if draft is not None and artifacts.is_main_process():
            num_chunks = store.write_chunks(draft.path, beir.read_corpus(folder))
            draft.counts |= {"documents": num_chunks, "chunks": num_chunks}
    return artifacts.load(workdir.chunks, "chunk_corpus")


def run(
    config: Config,
    workdir: Workdir,
    folder: epath.PathLike,
    allow_missing: bool = False,
    overwrite: bool = False,
) -> Artifact:
    """Searches the embedded documents exactly and measures what is found.

    Writes `results.json` (percent, with 95 % intervals), `table.md`, `exact.run` and
    `test.qrels`.

    Args:
      config: of the encoder.
      workdir: holds what `chunk` and stage 2 wrote.
      folder: the set.
      allow_missing: judged documents that the corpus lacks count as not found.
      overwrite: see `artifacts.writing`.

    Raises:
      QualityError: judged documents that the corpus lacks.
    """
    path = workdir.retrieval_quality("beir")
    folder = epath.Path(folder).expanduser()
    with artifacts.writing(
        path,
        "evaluate_beir",
        config.section("evaluation")
        | {"encoder": inputs.query_settings(config), "allow_missing": allow_missing},
        {
            "embeddings": inputs.checked_embeddings(config, workdir).sha256,
            "query_tower": inputs.query_tower_hash(config, workdir, "base"),
            "questions": fingerprint.hash_files(folder / "queries.jsonl"),
            "qrels": fingerprint.hash_files(folder / "qrels" / "test.tsv"),
        },
        overwrite,
    ) as draft:
        if draft is not None:
            _evaluate(config, workdir, folder, allow_missing, draft)
    return artifacts.load(path, "evaluate_beir")


def _evaluate(config, workdir, folder, allow_missing: bool, draft: Draft) -> None:
    qrels = beir.read_qrels(folder)
    asked = beir.read_questions(folder, qrels)
    documents = [one.document_id for one in inputs.chunk_store(workdir)]
    retrieval_quality.check_documents(qrels, set(documents), allow_missing)
    found = _search(config, workdir, asked, documents)
    ranked = {name: beir.trec_eval_order(ranking) for name, ranking in found}
    scores = retrieval_quality.question_scores(ranked, qrels)
    settings = config.evaluation
    measured = retrieval_quality.with_intervals(
        scores, settings.num_bootstrap, settings.seed
    )
    results = {
        "num_questions": len(asked),
        "num_chunks": len(documents),
        "systems": {"exact": measured},
    }
    draft.write_json("results.json", results)
    with draft.file("exact.run") as path:
        trec.write_run(path, found, "exact")
    with draft.file("table.md") as path:
        path.write_text(retrieval_quality.render_markdown(results))


def _search(
    config: Config, workdir: Workdir, asked: list[Instruction], documents: list[str]
) -> list[tuple[str, Ranking]]:
    """The best documents of each question, less the one with its own id."""
    embedded = inputs.checked_embeddings(config, workdir)
    searched = ExactIndex(inputs.embeddings_of(embedded))
    tower = inputs.query_tower(config, workdir, "base")
    retriever = Retriever(DenseSearcher(Embedder(tower), searched))
    rows = {document: row for row, document in enumerate(documents)}
    exclude = [rows.get(one.id, -1) for one in asked]
    depth = min(beir.DEPTH, len(documents) - (max(exclude) >= 0))
    progress, found = Progress(len(asked), "questions", "evaluate_beir"), []
    for ids, scores in retriever.retrieve_batches(
        [one.question for one in asked], depth, exclude, _BATCH
    ):
        names = np.array(documents, object)[ids].tolist()
        for row, values in zip(names, scores.tolist(), strict=True):
            ranking = list(zip(row, values, strict=True))
            found.append((asked[len(found)].id, ranking))
        progress.update(len(ids))
    return found
