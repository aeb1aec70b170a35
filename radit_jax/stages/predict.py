"""Stage 9: dev questions, an LM, retrieved chunks → answers (Eq. 2)."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config
from radit_jax.evaluation import systems
from radit_jax.inference import ensemble
from radit_jax.inference.ensemble import Answer, Question, Retrieval
from radit_jax.inference.sampler import Sampler
from radit_jax.models.decoder import Decoder
from radit_jax.ops.ensemble import retrieval_log_softmax
from radit_jax.progress import Progress
from radit_jax.stages import inputs
from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.training import mesh
from radit_jax.types import Instruction, Retrieved
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Answers the dev questions with one LM behind each of the chosen retrievers.

    A chunk that several retrievers found for a question is read once. Writes
    `predictions-00000-of-0000n.jsonl`, a line a question and retriever.
    """
    config = _with_retrievers(config)
    settings = config.predict
    # "base" always: its dev questions are the ones that are asked.
    retrieved = {
        name: inputs.retrieved(workdir, name)
        for name in dict.fromkeys(("base", *settings.retrievers))
        if name != "none"
    }
    with artifacts.writing(
        workdir.predictions(settings.lm),
        "predict",
        config.section("predict", "lm") | {"temperature": config.encoder.temperature},
        {name: found.sha256 for name, found in retrieved.items()}
        | {"lm": inputs.lm_hash(config, workdir, settings.lm)}
        | {"dev": fingerprint.hash_files(config.instructions.dev)},
        overwrite,
    ) as draft:
        if draft is not None:
            _predict(config, workdir, draft)
    return artifacts.load(workdir.predictions(settings.lm), "predict")


def _with_retrievers(config: Config) -> Config:
    """Fills in the retrievers that the six systems put before this LM."""
    settings = config.predict
    of_systems = tuple(
        retriever for lm, retriever in systems.SYSTEM_NAMES if lm == settings.lm
    )
    settings = dataclasses.replace(
        settings, retrievers=settings.retrievers or of_systems
    )
    return dataclasses.replace(config, predict=settings)


def _predict(config: Config, workdir: Workdir, draft: Draft) -> None:
    settings = config.predict
    dev = _dev_questions(workdir, settings.retrievers)
    size = settings.shard_size
    starts = range(0, len(dev), size)
    names = [
        f"predictions-{i:05d}-of-{len(starts):05d}.jsonl" for i in range(len(starts))
    ]
    todo = [
        (file, dev[start : start + size])
        for file, start in zip(names, starts, strict=True)
        if not draft.has(file)
    ]
    if todo:
        _answer(config, workdir, draft, todo, len(dev))
    if not artifacts.is_main_process():
        return
    cut = [
        record["num_truncated"]
        for file in names
        for record in artifacts.read_lines(draft.path / file)
    ]
    draft.counts |= {
        "questions": len(dev),
        "truncated_backgrounds": sum(cut),
        "shards": names,
    }


def _answer(config: Config, workdir: Workdir, draft: Draft, todo, total: int) -> None:
    settings = config.predict
    answerer = Answerer(config, workdir, *inputs.load_lm(config, workdir, settings.lm))
    left = sum(len(part) for _, part in todo)
    label = f"predict {settings.lm}"
    progress = Progress(total, "questions", label, done=total - left)
    for file, part in todo:
        asked = [answerer.question(item) for item in part]
        answers = answerer.answer([question for question, _ in asked], progress)
        records = [
            {"retriever": name, "num_truncated": cut[name]}
            | _record(item[name], answer)
            | {"log_p_r": question.retrievals[name].log_p_r}
            for item, (question, cut), by_name in zip(part, asked, answers, strict=True)
            for name, answer in by_name.items()
        ]
        draft.write_lines(file, records)


def _dev_questions(
    workdir: Workdir, retrievers: tuple[str, ...]
) -> list[dict[str, Retrieved]]:
    """For each dev question, what each retriever found; "none" found nothing."""
    named = {
        name: inputs.read_retrieved(workdir, name, "dev")
        for name in (*retrievers, "base")
        if name != "none"
    }
    base = named["base"]
    if "none" in retrievers:
        named["none"] = [Retrieved(item.instruction, (), ()) for item in base]
    for name, items in named.items():
        if [i.instruction for i in items] != [i.instruction for i in base]:
            raise artifacts.ArtifactError(
                f"{workdir.retrieved(name)} holds other dev questions than "
                f"{workdir.retrieved('base')}; run `python -m launch.retrieve "
                f"--config.retrieve.query_tower={name} --overwrite`."
            )
    return [{name: named[name][i] for name in retrievers} for i in range(len(base))]


class Answerer:
    """An LM that answers questions from what retrievers found for them."""

    def __init__(
        self,
        config: Config,
        workdir: Workdir,
        decoder: Decoder,
        tokenizer: LMTokenizer,
    ):
        """Places the LM on all devices and opens the chunk store."""
        self.store = inputs.chunk_store(workdir)
        self._config, self._tokenizer = config, tokenizer
        self._sampler = Sampler(
            decoder,
            eos_id=tokenizer.eos_id,
            stop_mask=ensemble.newline_stop_mask(tokenizer, decoder.config.vocab_size),
            max_new_tokens=config.predict.max_answer_tokens,
            mesh=mesh.make_mesh(),
        )

    def answer(
        self, questions: list[Question], progress: Progress | None = None
    ) -> list[dict[str, Answer]]:
        """For each question, an answer for each of its retrievers."""
        return ensemble.answer_ensemble(
            self._sampler,
            self._tokenizer,
            questions,
            self._config.predict.batch_size,
            progress,
        )

    def question(self, found: dict[str, Retrieved]) -> tuple[Question, dict[str, int]]:
        """A question's distinct prompts, and which of them each retriever has.

        Also how many of each retriever's Backgrounds had to be cut to fit.
        """
        num_chunks = self._config.predict.num_chunks
        chunk_ids = {
            name: item.chunk_ids[:num_chunks] or (None,) for name, item in found.items()
        }
        distinct = list(dict.fromkeys(c for ids in chunk_ids.values() for c in ids))
        chunks = iter(self.store.get_many(c for c in distinct if c is not None))
        passages = [None if c is None else next(chunks).passage for c in distinct]
        instruction = next(iter(found.values())).instruction
        prompts = [self._prompt(instruction, passage) for passage in passages]
        rows = {
            name: tuple(distinct.index(chunk_id) for chunk_id in ids)
            for name, ids in chunk_ids.items()
        }
        retrievals = {
            name: Retrieval(rows[name], self.log_p_r(item.scores[:num_chunks]))
            for name, item in found.items()
        }
        gold = instruction.answers[0] if instruction.answers else None
        cut = {name: sum(prompts[row][1] for row in rows[name]) for name in found}
        return Question([ids for ids, _ in prompts], retrievals, gold), cut

    def log_p_r(self, scores: tuple[float, ...]) -> tuple[float, ...]:
        """log p_R(c | x) over the retrieved chunks; without any: (0,)."""
        if not scores:
            return (0.0,)
        log_p_r = retrieval_log_softmax(
            jnp.asarray([scores], jnp.float32),
            jnp.ones((1, len(scores)), bool),
            self._config.encoder.temperature,
        )
        return tuple(np.asarray(log_p_r)[0].tolist())

    def _prompt(
        self, instruction: Instruction, passage: str | None
    ) -> tuple[list[int], bool]:
        prompt = templates.encode_prompt(
            self._tokenizer,
            instruction.id,
            instruction.question,
            passage=passage,
        )
        return templates.prompt_ids(
            prompt, self._config.lm.max_tokens, self._config.predict.max_answer_tokens
        )


def _record(found: Retrieved, answer: Answer) -> dict:
    instruction = found.instruction
    values = {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in dataclasses.asdict(answer).items()
    }
    return {
        "id": instruction.id,
        "question": instruction.question,
        "answers": instruction.answers,
        "positives": instruction.positives,
        "chunk_ids": found.chunk_ids[: len(answer.chunk_answers)],
        "answer": values.pop("text"),
    } | values
