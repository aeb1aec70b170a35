"""The questions that the report shows, with their passages and answers.

p_LSR there is over the passages that the LM read, from the accepted answer's mean
log-likelihood under the base LM, at the training's τ: the default of Eq. 4's score.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation import metrics, systems
from radit_jax.ops import ensemble
from radit_jax.types import Chunk

_MAX_CANDIDATES = 5  # of an ensemble, the likeliest


def questions(
    config: Config, lines: dict, results: dict, store: ChunkStore
) -> list[dict]:
    """The dev questions in full: all, or a fixed draw of `num_browsed`, in order."""
    names = [(s["name"], s["lm"], s["retriever"]) for s in results["systems"]]
    records = {name: lines[lm][retriever] for name, lm, retriever in names}
    correct = {
        name: [em > 0 for em in metrics.score_predictions(rows)["em"]]
        for name, rows in records.items()
    }
    first = next(iter(records.values()))
    generator = np.random.default_rng(config.evaluation.seed)
    order = generator.permutation(len(first))[: config.evaluation.num_browsed]
    return [
        {
            "question": first[row]["question"],
            "answers": first[row]["answers"],
            "passages": _passages(config, lines, row, store),
            "systems": [
                _said(name, records[name][row], correct[name][row])
                for name, _, _ in names
            ],
        }
        for row in sorted(order.tolist())
    ]


def handful(config: Config, asked: Sequence[dict]) -> list[dict]:
    """`num_shown` of them, drawn: first those on which the systems disagree."""
    generator = np.random.default_rng(config.evaluation.seed)
    order = generator.permutation(len(asked)).tolist()
    order.sort(key=lambda row: len({s["correct"] for s in asked[row]["systems"]}) == 1)
    return [asked[row] for row in order[: config.evaluation.num_shown]]


def _said(name: str, record: dict, is_correct: bool) -> dict:
    """One system's answer, and the candidates that its ensemble weighed."""
    log_probability = np.array(record.get("candidate_log_probability", []))
    best = np.argsort(-log_probability, kind="stable")[:_MAX_CANDIDATES]
    return {
        "name": name,
        "answer": record["answer"],
        "probability": float(np.exp(record["log_probability"])),
        "correct": is_correct,
        "candidates": [
            (record["candidates"][i], float(np.exp(log_probability[i]))) for i in best
        ],
    }


def _passages(config: Config, lines: dict, row: int, store: ChunkStore) -> list[dict]:
    """The chunks that any retriever found, with both p_R, p_LSR and the answers."""
    records = {
        (lm, retriever): by_retriever[retriever][row]
        for lm, by_retriever in lines.items()
        for retriever in systems.TOWERS
        if retriever in by_retriever
    }
    p_r = {
        name: dict(zip(r["chunk_ids"], np.exp(r["log_p_r"]).tolist(), strict=True))
        for (_, name), r in records.items()
    }
    p_lsr = _p_lsr(config, records.get(("base", "base")))
    ids = list(dict.fromkeys(c for r in records.values() for c in r["chunk_ids"]))
    answers: dict[int, dict[str, str]] = {chunk_id: {} for chunk_id in ids}
    for (lm, _), record in records.items():
        for chunk_id, text in zip(
            record["chunk_ids"], record["chunk_answers"], strict=True
        ):
            answers[chunk_id][lm] = text
    return [
        _passage(chunk, next(iter(records.values()))["positives"])
        | {
            "p_r_base": p_r.get("base", {}).get(chunk.id),
            "p_r_tuned": p_r.get("tuned", {}).get(chunk.id),
            "p_lsr": p_lsr.get(chunk.id),
            "answers": answers[chunk.id],
        }
        for chunk in store.get_many(ids)
    ]


def _p_lsr(config: Config, record: dict | None) -> dict[int, float]:
    """Chunk id → p_LSR, of what the untuned LM said behind the untuned retriever."""
    if record is None or record["gold_log_likelihood"] is None:
        return {}
    scores = jnp.asarray([record["gold_log_likelihood"]], jnp.float32)
    # Both of Eq. 4's distributions are softmaxes over C' with a temperature.
    log_p_lsr = ensemble.retrieval_log_softmax(
        scores,
        jnp.ones(scores.shape, bool),
        config.retriever_training.resolved(1.0).lm_temperature,
    )
    weights = jnp.exp(log_p_lsr[0]).tolist()
    return dict(zip(record["chunk_ids"], weights, strict=True))


def _passage(chunk: Chunk, positives: Sequence[str]) -> dict:
    return {
        "title": chunk.title,
        "text": chunk.text,
        "document_id": chunk.document_id,
        "is_positive": chunk.document_id in positives,
    }
