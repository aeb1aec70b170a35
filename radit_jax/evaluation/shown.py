"""The questions that the report draws in full, with their passages.

p_LSR there is over the passages that the LM read, from the accepted answer's mean
log-likelihood under the base LM, at the training's τ: the default of Eq. 4's score.
"""

import jax.numpy as jnp
import numpy as np

from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation import metrics, systems
from radit_jax.ops import ensemble


def questions(
    config: Config, lines: dict, results: dict, store: ChunkStore
) -> list[dict]:
    """A handful of questions in full: first those on which the systems disagree."""
    names = [(s["name"], s["lm"], s["retriever"]) for s in results["systems"]]
    records = {name: lines[lm][retriever] for name, lm, retriever in names}
    correct = {
        name: [em > 0 for em in metrics.score_predictions(rows)["em"]]
        for name, rows in records.items()
    }
    outcomes = list(zip(*correct.values(), strict=True))
    generator = np.random.default_rng(config.evaluation.seed)
    order = generator.permutation(len(outcomes)).tolist()
    order.sort(key=lambda row: len(set(outcomes[row])) == 1)
    return [
        {
            "question": next(iter(records.values()))[row]["question"],
            "answers": next(iter(records.values()))[row]["answers"],
            "passages": _passages(config, lines, row, store),
            "systems": [
                {
                    "name": name,
                    "answer": records[name][row]["answer"],
                    "probability": float(np.exp(records[name][row]["log_probability"])),
                    "correct": correct[name][row],
                }
                for name, _, _ in names
            ],
        }
        for row in order[: config.evaluation.num_shown]
    ]


def _passages(config: Config, lines: dict, row: int, store: ChunkStore) -> list[dict]:
    """The chunks that any retriever found, with both p_R, p_LSR and the answers."""
    records = {
        (lm, retriever): by_retriever[retriever][row]
        for lm, by_retriever in lines.items()
        for retriever in systems.TOWERS
        if retriever in by_retriever
    }
    chunk_ids = dict.fromkeys(c for r in records.values() for c in r["chunk_ids"])
    p_r = {
        name: dict(zip(r["chunk_ids"], np.exp(r["log_p_r"]).tolist(), strict=True))
        for (_, name), r in records.items()
    }
    p_lsr = {}
    if ("base", "base") in records:
        record = records["base", "base"]
        scores = jnp.asarray([record["gold_log_likelihood"]], jnp.float32)
        # Both of Eq. 4's distributions are softmaxes over C' with a temperature.
        log_p_lsr = ensemble.retrieval_log_softmax(
            scores,
            jnp.ones(scores.shape, bool),
            config.retriever_training.resolved(1.0).lm_temperature,
        )
        weights = jnp.exp(log_p_lsr[0]).tolist()
        p_lsr = dict(zip(record["chunk_ids"], weights, strict=True))
    answers: dict[int, dict[str, str]] = {chunk_id: {} for chunk_id in chunk_ids}
    for (lm, _), record in records.items():
        for chunk_id, text in zip(
            record["chunk_ids"], record["chunk_answers"], strict=True
        ):
            answers[chunk_id][lm] = text
    passages = []
    for chunk_id in chunk_ids:
        chunk = store[chunk_id]
        positives = next(iter(records.values()))["positives"]
        passages.append(
            {
                "title": chunk.title,
                "text": chunk.text,
                "document_id": chunk.document_id,
                "is_positive": chunk.document_id in positives,
                "p_r_base": p_r.get("base", {}).get(chunk_id),
                "p_r_tuned": p_r.get("tuned", {}).get(chunk_id),
                "p_lsr": p_lsr.get(chunk_id),
                "answers": answers[chunk_id],
            }
        )
    return passages
