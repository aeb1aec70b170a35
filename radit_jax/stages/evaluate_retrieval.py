"""Beside the pipeline: how well each kind of retriever finds the dev positives."""

import dataclasses
import json
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging
from jaxtyping import Float

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config, ConfigError
from radit_jax.corpus import questions
from radit_jax.evaluation import retrieval_quality
from radit_jax.progress import Progress
from radit_jax.retrieval import index, trec
from radit_jax.retrieval.embedder import Embedder
from radit_jax.retrieval.exact_index import ExactIndex
from radit_jax.retrieval.fusion import Fusion
from radit_jax.retrieval.retriever import DenseSearcher, Retriever, Searcher
from radit_jax.stages import inputs
from radit_jax.types import Instruction, Retrieved
from radit_jax.workdir import Workdir

SYSTEMS = ("exact", "scann@0.95", "scann@0.99", "bm25", "hybrid")


def run(
    config: Config,
    workdir: Workdir,
    systems: Sequence[str] = SYSTEMS,
    allow_missing: bool = False,
    overwrite: bool = False,
) -> Artifact:
    """Measures the systems on the dev questions that have positives.

    Writes `results.json` (percent, with 95 % intervals), `table.md`, and for each
    system a TREC run beside `dev.qrels`. A killed run repeats one system at most.

    Args:
      config: `instructions.dev` and, of `retrieve`, the query tower and the settings
        of "bm25" and "hybrid".
      workdir: holds stages 1 and 2, and the BM25 index where it is asked for.
      systems: "exact" and "scann@0.95" (the recall that it is tuned for) search the
        embeddings, "bm25" the words, "hybrid" is exact and bm25 fused.
      allow_missing: positives that the corpus lacks count as not found.
      overwrite: see `artifacts.writing`.

    Raises:
      ConfigError: another system.
      QualityError: no positives, or positives that the corpus lacks.
    """
    for name in systems:
        _check_system(name)
    tower = config.retrieve.query_tower
    hashes = {"dev": fingerprint.hash_files(config.instructions.dev)}
    if set(systems) - {"bm25"}:
        hashes["embeddings"] = inputs.checked_embeddings(config, workdir).sha256
        hashes["query_tower"] = inputs.query_tower_hash(config, workdir, tower)
    if {"bm25", "hybrid"} & set(systems):
        hashes["bm25"] = artifacts.load(workdir.bm25, "build_index").sha256
    path = workdir.retrieval_quality(tower)
    with artifacts.writing(
        path,
        "evaluate_retrieval",
        config.section("retrieve", "index", "evaluation")
        | {"encoder": inputs.query_settings(config), "systems": list(systems)}
        | {"max_dev": config.instructions.max_dev, "allow_missing": allow_missing},
        hashes,
        overwrite,
    ) as draft:
        if draft is not None:
            _evaluate(config, workdir, systems, allow_missing, draft)
    return artifacts.load(path, "evaluate_retrieval")


def _check_system(name: str) -> None:
    kind, _, target = name.partition("@")
    is_share = target.replace(".", "", 1).isdigit() and 0 < float(target) <= 1
    if name not in SYSTEMS and not (kind == "scann" and is_share):
        raise ConfigError(
            f"{name!r} is no retriever; choose of {SYSTEMS}, where scann takes any "
            "recall from 0 to 1."
        )


def _evaluate(config, workdir, systems, allow_missing: bool, draft: Draft) -> None:
    asked = _dev_questions(config)
    qrels = {one.id: dict.fromkeys(one.positives, 1) for one in asked}
    store = inputs.chunk_store(workdir)
    documents = [chunk.document_id for chunk in store]
    retrieval_quality.check_documents(qrels, set(documents), allow_missing)
    with draft.file("dev.qrels") as path:
        trec.write_qrels(path, ((one.id, one.positives) for one in asked))
    todo = [name for name in systems if not draft.has(f"{name}.json")]
    for name, searcher in _searchers(config, workdir, todo, asked):
        found = _find(config, name, searcher, asked)
        rankings = {
            item.instruction.id: [documents[row] for row in item.chunk_ids]
            for item in found
        }
        scores = retrieval_quality.question_scores(rankings, qrels)
        measured = retrieval_quality.with_intervals(
            scores, config.evaluation.num_bootstrap, config.evaluation.seed
        )
        with draft.file(f"{name}.run") as path:
            trec.write_run(path, trec.document_rankings(found, store), name)
        draft.write_json(f"{name}.json", measured)
    results = {
        "num_questions": len(asked),
        "num_chunks": len(store),
        "systems": {
            name: json.loads((draft.path / f"{name}.json").read_text())
            for name in systems
        },
    }
    draft.write_json("results.json", results)
    with draft.file("table.md") as path:
        path.write_text(retrieval_quality.render_markdown(results))


def _dev_questions(config: Config) -> list[Instruction]:
    settings = config.instructions
    dev = questions.read_questions(settings.dev)
    dev = questions.subset(dev, settings.max_dev, settings.seed)
    asked = [one for one in dev if one.positives]
    if not asked:
        raise retrieval_quality.QualityError(
            f"none of the {len(dev)} questions in {settings.dev} has positives, so "
            "nothing says what should be found; add a field 'positives' with ids of "
            "documents."
        )
    logging.info("%d of %d dev questions have positives.", len(asked), len(dev))
    return asked


def _searchers(
    config: Config, workdir: Workdir, systems: Sequence[str], asked: list[Instruction]
) -> Iterator[tuple[str, Searcher]]:
    embedded = None
    if set(systems) - {"bm25"}:
        embedded = _embed(config, workdir, asked)
    for name in systems:
        if name == "bm25":
            yield name, inputs.bm25(workdir)
            continue
        searcher = _Embedded(embedded, _index(config, workdir, name))
        if name == "hybrid":
            searchers = [searcher, inputs.bm25(workdir)]
            searcher = Fusion(searchers, config.retrieve.fusion_depth)
        yield name, searcher


def _index(config: Config, workdir: Workdir, name: str) -> index.Index:
    """The index of one system; ScaNN's is an artifact of its own, found again."""
    stored = inputs.checked_embeddings(config, workdir)
    matrix = inputs.embeddings_of(stored)
    kind, _, target = name.partition("@")
    if kind != "scann":
        return ExactIndex(matrix)
    settings = dataclasses.replace(config.index, kind=kind, target_recall=float(target))
    path = workdir.retrieval_quality("indexes") / name
    with artifacts.writing(
        path,
        "build_index",
        dataclasses.replace(config, index=settings).section("index"),
        {"embeddings": stored.sha256},
        overwrite=True,  # no one else's: only this function reads it
    ) as draft:
        if draft is not None:
            draft.counts |= index.build(matrix, settings, draft)
    return index.load(path, matrix)


class _Embedded(DenseSearcher):
    """A dense searcher of questions that were embedded before, once for all indexes."""

    def __init__(
        self, embedded: dict[str, Float[np.ndarray, " e"]], searched: index.Index
    ):
        self._embedded = embedded
        self._index = searched

    def encode(self, questions: Sequence[str]) -> Float[np.ndarray, "b e"]:
        return np.stack([self._embedded[question] for question in questions])


def _embed(config: Config, workdir: Workdir, asked: list[Instruction]) -> dict:
    tower = inputs.query_tower(config, workdir, config.retrieve.query_tower)
    texts = list(dict.fromkeys(one.query for one in asked))
    rows = Embedder(tower).embed(texts, config.retrieve.batch_size)
    return dict(zip(texts, rows, strict=True))


def _find(
    config: Config, name: str, searcher: Searcher, asked: list[Instruction]
) -> list[Retrieved]:
    depth = min(retrieval_quality.DEEPEST, searcher.num_chunks)
    progress, found = Progress(len(asked), "questions", name), []
    for ids, scores in Retriever(searcher).retrieve_batches(
        [one.query for one in asked], depth, batch_size=config.retrieve.batch_size
    ):
        for row, values in zip(ids.tolist(), scores.tolist(), strict=True):
            found.append(Retrieved(asked[len(found)], tuple(row), tuple(values)))
        progress.update(len(ids))
    return found
