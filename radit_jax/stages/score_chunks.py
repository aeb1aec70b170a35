"""Stage 7: retrieved chunks, an LM → log p_LM(y_t | c ∘ x, y_<t), token by token.

A chunk's Background stands first in its prompts, so questions that share a chunk share
what the LM computes for it. The pairs (question, chunk) are therefore scored in order
of their chunks, part by part, and put back into the questions' order at the end.
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging
from etils import epath
from jaxtyping import Float, Int
from safetensors import numpy as safetensors

from radit_jax import artifacts, room
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config, ScoringConfig
from radit_jax.corpus.store import ChunkStore
from radit_jax.inference.prefix_rows import Work
from radit_jax.inference.scorer import Scorer
from radit_jax.models import weights
from radit_jax.progress import Progress
from radit_jax.stages import inputs
from radit_jax.text import templates
from radit_jax.text.templates import Prompt
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.training import mesh
from radit_jax.types import Retrieved
from radit_jax.workdir import Workdir

_PARTS = "parts"  # folder of what is scored, until it is put in order
_GUESSED_ANSWER_TOKENS = 32
_NO_CHUNK = -1  # as a chunk id: the question by itself
_ENCODED = 65_536  # questions whose tokens are kept; of more, some are encoded again


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Scores every retrieved chunk of every question of the chosen splits.

    Writes `{split}-00000-of-0000n.safetensors`, float32, nats, questions in the order
    of `retrieve`: `token_log_likelihood` of all answer tokens, the chunks of a question
    one after another; `num_tokens` of each (question, chunk), `[b k]`, 0 where there
    are fewer chunks, or question and answer alone are too long;
    `token_log_likelihood_no_chunk`, log p_LM(y_t | x, y_<t), of all answer tokens, and
    `num_tokens_no_chunk`, `[b]`.
    """
    path, made_of = output(config, workdir), identity(config, workdir)
    with artifacts.writing(path, "score_chunks", *made_of, overwrite) as draft:
        if draft is not None:
            _score(config, workdir, draft)
    return artifacts.load(path, "score_chunks")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes."""
    return workdir.scores(config.scoring.lm)


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    hashes = {
        "retrieved": inputs.retrieved(workdir, "base").sha256,
        "lm": inputs.lm_hash(config, workdir, config.scoring.lm),
    }
    return config.section("scoring", "lm"), hashes


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """Pairs that are scored together: what a killed run repeats at most."""

    file: str
    split: str
    pairs: Int[np.ndarray, "n 3"]  # chunk id (or _NO_CHUNK), question's row, rank


def _score(config: Config, workdir: Workdir, draft: Draft) -> None:
    settings = config.scoring
    questions = {split: _questions(config, workdir, split) for split in settings.splits}
    parts = [
        part
        for split, found in questions.items()
        for part in _parts(split, found, settings.num_chunks, settings.shard_size)
    ]
    shards = {
        split: _shard_names(split, len(found), settings.shard_size)
        for split, found in questions.items()
    }
    files = [file for names in shards.values() for file in names]
    if not all(draft.has(file) for file in files):
        _score_parts(config, workdir, draft, questions, parts)
        if artifacts.is_main_process():  # whose files they are
            _write_shards(draft, questions, parts, shards, settings)
    work, num_truncated, num_left_out = Work(), 0, 0
    if artifacts.is_main_process():
        work, num_truncated, num_left_out = _totals(draft, files)
    pairs = np.concatenate([part.pairs[:, 0] for part in parts] or [np.empty(0, int)])
    pairs = pairs[pairs != _NO_CHUNK]
    draft.counts |= {
        "questions": sum(map(len, questions.values())),
        "left_out": num_left_out,
        "truncated_backgrounds": num_truncated,
        "chunks_a_question": settings.num_chunks,
        "pairs": len(pairs),
        "distinct_chunks": len(np.unique(pairs)),
        "repeated_chunks": len(pairs) - len(np.unique(pairs)),
        "tokens": work.tokens,
        "tokens_computed": work.computed_tokens,
        "tokens_saved": work.tokens - work.computed_tokens,
        "tokens_computed_with_padding": work.padded_tokens,
        "shards": files,
    }
    if artifacts.is_main_process() and draft.has(_PARTS):
        (draft.path / _PARTS).rmtree()


def _questions(config: Config, workdir: Workdir, split: str) -> Sequence[Retrieved]:
    if split == "corpus" and not config.instructions.corpus_queries:
        return []
    found = inputs.retriever_questions(config, workdir, split)
    return found[: config.scoring.max_questions or None]


def _shard_names(split: str, num_questions: int, shard_size: int) -> list[str]:
    num = -(-num_questions // shard_size)
    return [f"{split}-{i:05d}-of-{num:05d}.safetensors" for i in range(num)]


def _parts(
    split: str, questions: Sequence[Retrieved], num_chunks: int, shard_size: int
) -> list[_Part]:
    """The pairs in order of their chunks, cut into parts of like size."""
    pairs = _pairs(questions, num_chunks)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    size = shard_size * num_chunks
    return [
        _Part(f"{_PARTS}/{split}-{i:05d}.safetensors", split, pairs[start:][:size])
        for i, start in enumerate(range(0, len(pairs), size))
    ]


def _pairs(questions: Sequence[Retrieved], num_chunks: int) -> Int[np.ndarray, "n 3"]:
    """Chunk id (or _NO_CHUNK), question's row and rank, of every pair."""
    ids = np.full((len(questions), 1 + num_chunks), _NO_CHUNK, np.int32)
    is_there = np.zeros(ids.shape, bool)
    for row, item in enumerate(questions):
        found = (_NO_CHUNK, *item.chunk_ids[:num_chunks])
        ids[row, : len(found)], is_there[row, : len(found)] = found, True
    rows, ranks = np.nonzero(is_there)
    return np.stack([ids[is_there], rows, ranks], axis=1, dtype=np.int32)


def _score_parts(
    config: Config,
    workdir: Workdir,
    draft: Draft,
    questions: dict[str, Sequence[Retrieved]],
    parts: list[_Part],
) -> None:
    todo = [part for part in parts if not draft.has(part.file)]
    total, left = (sum(len(p.pairs) for p in some) for some in (parts, todo))
    devices = mesh.make_mesh(tensor=config.lm.tensor)
    decoder, tokenizer = inputs.load_lm(config, workdir, config.scoring.lm, devices)
    # A part stays until all are put in order.
    disk_bytes = 2 * 4 * total * _GUESSED_ANSWER_TOKENS
    held = weights.num_bytes(decoder)
    room.check(draft.path, "score_chunks", disk_bytes, held)
    scorer = Scorer(decoder, devices)
    prompts = _Prompts(config, tokenizer, inputs.chunk_store(workdir), questions)
    progress = Progress(total, "answers", "score_chunks", done=total - left)
    for part, texts in prompts.ahead(todo):
        arrays = _score_shard(scorer, texts, config.scoring.batch_tokens, progress)
        if artifacts.is_main_process():
            with draft.file(part.file) as path:
                path.write_bytes(safetensors.save(arrays))


@dataclasses.dataclass(slots=True)
class _Texts:
    """What a part asks of the scorer."""

    prompts: list[list[int]]
    outputs: list[list[int]]
    num_shared: list[int]
    num_truncated: int
    is_scored: list[bool]  # of each pair; False: too long without any Background


class _Prompts:
    """Encodes each question once, and the chunks of a part once."""

    def __init__(
        self,
        config: Config,
        tokenizer: LMTokenizer,
        store: ChunkStore,
        questions: dict[str, Sequence[Retrieved]],
    ):
        self._max_tokens = config.lm.max_tokens
        self._tokenizer = tokenizer
        self._store = store
        self._questions = questions
        self._encode_once = functools.lru_cache(_ENCODED)(self._encode_question)

    def ahead(self, parts: Sequence[_Part]) -> Iterator[tuple[_Part, _Texts]]:
        """Each part with its texts, made while the part before it is scored."""
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            waiting = [thread.submit(self._encode, part) for part in parts[:1]]
            for i, part in enumerate(parts):
                texts = waiting.pop().result()
                waiting += [thread.submit(self._encode, p) for p in parts[i + 1 :][:1]]
                yield part, texts

    def _encode(self, part: _Part) -> _Texts:
        backgrounds: dict[int, tuple[int, ...]] = {_NO_CHUNK: ()}
        chunk_ids = [int(i) for i in np.unique(part.pairs[:, 0]) if i != _NO_CHUNK]
        for i, chunk in zip(chunk_ids, self._store.get_many(chunk_ids), strict=True):
            block = templates.background_block(chunk.passage)
            backgrounds[i] = tuple(self._tokenizer.encode(block))
        texts = _Texts([], [], [], 0, [])
        for chunk_id, row, _ in part.pairs.tolist():
            question = self._encode_once(part.split, row)
            whole = dataclasses.replace(question, background_ids=backgrounds[chunk_id])
            num_output = whole.num_target_tokens
            try:
                prompt, cut = templates.shorten(whole, self._max_tokens, num_output)
            except templates.PromptError as error:
                texts.is_scored.append(False)
                if chunk_id == _NO_CHUNK:
                    logging.warning("score_chunks: left out. %s", error)
                continue
            texts.is_scored.append(True)
            ids = prompt.ids
            texts.prompts.append(ids[:-num_output])
            texts.outputs.append(ids[-num_output:])
            texts.num_shared.append(len(prompt.bos_ids) + len(prompt.background_ids))
            texts.num_truncated += cut.background
        return texts

    def _encode_question(self, split: str, row: int) -> Prompt:
        """Question and answer, without any Background."""
        # A chunk stands where a gold context would: it is what is scored.
        instruction = self._questions[split][row].instruction
        instruction = dataclasses.replace(instruction, context="")
        return templates.encode_instruction(
            self._tokenizer,
            instruction.id,
            instruction,
            answer=templates.target(instruction),
        )


def _score_shard(
    scorer: Scorer, texts: _Texts, batch_tokens: int, progress: Progress
) -> dict[str, np.ndarray]:
    """The arrays of one part."""
    scores = scorer.score(
        texts.prompts, texts.outputs, batch_tokens, texts.num_shared, progress
    )
    num_tokens = np.zeros(len(texts.is_scored), np.int32)
    num_tokens[texts.is_scored] = [len(score) for score in scores]
    return {
        "token_log_likelihood": np.concatenate([np.empty(0, np.float32), *scores]),
        "num_tokens": num_tokens,
        "work": np.asarray(dataclasses.astuple(scorer.work), np.int64),
        "num_truncated": np.asarray([texts.num_truncated]),
    }


def _write_shards(
    draft: Draft,
    questions: dict[str, Sequence[Retrieved]],
    parts: list[_Part],
    shards: dict[str, list[str]],
    settings: ScoringConfig,
) -> None:
    """Puts the parts of each split back into the questions' order."""
    for split, found in questions.items():
        own = [part for part in parts if part.split == split]
        loaded = [safetensors.load((draft.path / p.file).read_bytes()) for p in own]
        if not loaded:
            continue
        scores = _in_order(own, loaded)
        work = np.sum([arrays["work"] for arrays in loaded], axis=0)
        num_truncated = sum(arrays["num_truncated"] for arrays in loaded)
        for i, file in enumerate(shards[split]):
            start = i * settings.shard_size
            rows = range(start, min(start + settings.shard_size, len(found)))
            arrays = scores.shard(rows, settings.num_chunks)
            # A split's sums stand in its first shard.
            arrays |= {
                "work": work * (i == 0),
                "num_truncated": num_truncated * (i == 0),
            }
            with draft.file(file) as path:
                path.write_bytes(safetensors.save(arrays))


@dataclasses.dataclass(frozen=True, slots=True)
class _Scores:
    """A split's scores, by question and rank."""

    token_log_likelihood: Float[np.ndarray, "t"]
    num_tokens: Int[np.ndarray, "n"]
    rows: Int[np.ndarray, "n"]
    ranks: Int[np.ndarray, "n"]  # of the chunk, from 1; 0: no chunk

    def shard(self, rows: range, num_chunks: int) -> dict[str, np.ndarray]:
        """The arrays of some questions."""
        first, last = np.searchsorted(self.rows, [rows.start, rows.stop])
        ends = np.cumsum(self.num_tokens)
        skipped = int(ends[first - 1]) if first else 0
        flat = self.token_log_likelihood[skipped : int(ends[last - 1])]
        lengths, ranks = self.num_tokens[first:last], self.ranks[first:last]
        has_chunk = ranks > 0
        num_tokens = np.zeros((len(rows), num_chunks), np.int32)
        places = self.rows[first:last][has_chunk] - rows.start
        num_tokens[places, ranks[has_chunk] - 1] = lengths[has_chunk]
        of_chunk = np.repeat(has_chunk, lengths)
        return {
            "token_log_likelihood": flat[of_chunk],
            "num_tokens": num_tokens,
            "token_log_likelihood_no_chunk": flat[~of_chunk],
            "num_tokens_no_chunk": lengths[~has_chunk],
        }


def _in_order(parts: list[_Part], loaded: list[dict[str, np.ndarray]]) -> _Scores:
    """Sorts the scores of all pairs by question and rank."""
    pairs = np.concatenate([part.pairs for part in parts])
    lengths = np.concatenate([arrays["num_tokens"] for arrays in loaded])
    flat = np.concatenate([arrays["token_log_likelihood"] for arrays in loaded])
    starts = np.cumsum(lengths) - lengths
    order = np.lexsort((pairs[:, 2], pairs[:, 1]))
    pairs, lengths, starts = pairs[order], lengths[order], starts[order]
    shifts = starts - (np.cumsum(lengths) - lengths)
    flat = flat[np.repeat(shifts, lengths) + np.arange(len(flat))]
    return _Scores(flat, lengths, pairs[:, 1], pairs[:, 2])


def _totals(draft: Draft, files: list[str]) -> tuple[Work, int, int]:
    """The work, the cut Backgrounds and the questions left out, of all shards."""
    work, num_truncated, num_left_out = Work(), 0, 0
    for file in files:
        arrays = safetensors.load((draft.path / file).read_bytes())
        work += Work(*arrays["work"].tolist())
        num_truncated += int(arrays["num_truncated"][0])
        num_left_out += int((arrays["num_tokens_no_chunk"] == 0).sum())
    return work, num_truncated, num_left_out
