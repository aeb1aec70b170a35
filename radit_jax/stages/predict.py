"""Stage 9: dev questions, an LM, retrieved chunks → answers (Eq. 2)."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config, PredictConfig
from radit_jax.corpus.questions import subset
from radit_jax.evaluation import systems
from radit_jax.inference.answers import Answer
from radit_jax.inference.choosing import Sampling
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.ensemble import answer_ensemble
from radit_jax.inference.questions import Question, Retrieval
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.stops import Stops
from radit_jax.inference.token_ensemble import token_ensemble
from radit_jax.models.decoder import Decoder
from radit_jax.ops.ensemble import retrieval_log_softmax
from radit_jax.progress import Progress
from radit_jax.stages import inputs
from radit_jax.text import demonstrations, templates
from radit_jax.text.demonstrations import FewShot
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
    if not settings.num_chunks:
        of_systems = ("none",)
    settings = dataclasses.replace(
        settings, retrievers=settings.retrievers or of_systems
    )
    return dataclasses.replace(config, predict=settings)


def _predict(config: Config, workdir: Workdir, draft: Draft) -> None:
    settings = config.predict
    dev = _asked(settings, _dev_questions(workdir, settings.retrievers))
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
    records = [r for file in names for r in artifacts.read_lines(draft.path / file)]
    draft.counts |= {
        "questions": len(dev),
        "truncated_backgrounds": sum(r["num_truncated"] for r in records),
        "dropped_demonstrations": sum(r["num_dropped"] for r in records),
        "shards": names,
    }


def _answer(config: Config, workdir: Workdir, draft: Draft, todo, total: int) -> None:
    settings = config.predict
    models = inputs.load_lm(config, workdir, settings.lm)
    shown = _demonstrations(settings, workdir)
    answerer = Answerer(config, workdir, *models, shown)
    left = sum(len(part) for _, part in todo)
    label = f"predict {settings.lm}"
    progress = Progress(total, "questions", label, done=total - left)
    for file, part in todo:
        asked = [answerer.question(item) for item in part]
        answers = answerer.answer([question for question, _ in asked], progress)
        records = [
            {"retriever": name, **lost[name]}
            | _record(item[name], answer)
            | {"log_p_r": question.retrievals[name].log_p_r}
            for item, (question, lost), by_name in zip(
                part, asked, answers, strict=True
            )
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


def _asked(
    settings: PredictConfig, dev: list[dict[str, Retrieved]]
) -> list[dict[str, Retrieved]]:
    """`max_questions` of them, always the same ones, in the order of `dev`."""
    asked = [next(iter(item.values())).instruction for item in dev]
    ids = {one.id for one in subset(asked, settings.max_questions, seed=0)}
    return [item for item, one in zip(dev, asked, strict=True) if one.id in ids]


def _demonstrations(settings: PredictConfig, workdir: Workdir) -> list[Instruction]:
    """Train questions, drawn with a fixed seed: the same ones before every prompt."""
    num = settings.num_demonstrations
    if not num:
        return []
    found = inputs.read_retrieved(workdir, "base", "train")
    pool = [item.instruction for item in found if not item.instruction.context]
    if num > len(pool):
        raise ValueError(
            f"--config.predict.num_demonstrations={num}, but there are {len(pool)} "
            "train questions without a context of their own; lower it."
        )
    drawn = np.random.default_rng(settings.seed).choice(len(pool), num, replace=False)
    return [pool[i] for i in drawn]


class Answerer:
    """An LM that answers questions from what retrievers found for them."""

    def __init__(
        self,
        config: Config,
        workdir: Workdir,
        decoder: Decoder,
        tokenizer: LMTokenizer,
        shown: Sequence[Instruction] = (),
    ):
        """Places the LM on all devices and opens the chunk store.

        Args:
          config: its section `predict` says how to answer.
          workdir: of the chunks.
          decoder: the LM.
          tokenizer: the LM's.
          shown: demonstrations before every prompt; the nearest last.
        """
        settings = config.predict
        self.store = inputs.chunk_store(workdir)
        self._config, self._tokenizer = config, tokenizer
        self._demonstrations = [
            demonstrations.encode_demonstration(
                tokenizer, templates.asked(one), templates.target(one)
            )
            for one in shown
        ]
        self._decoding = Decoding(
            settings.max_answer_tokens,
            Stops(tokenizer, decoder.config.vocab_size, settings.stop),
            Sampling(settings.temperature, settings.top_p, settings.seed),
        )
        self._sampler = Sampler(decoder, eos_id=tokenizer.eos_id, mesh=mesh.make_mesh())

    def answer(
        self, questions: list[Question], progress: Progress | None = None
    ) -> list[dict[str, Answer]]:
        """For each question, an answer for each of its retrievers."""
        settings = self._config.predict
        # Concatenated chunks are one prompt, so the ensemble has one answer to weigh.
        is_mixed = settings.mode == "token_ensemble"
        return (token_ensemble if is_mixed else answer_ensemble)(
            self._sampler,
            self._tokenizer,
            questions,
            settings.batch_size,
            self._decoding,
            progress,
        )

    def question(
        self, found: dict[str, Retrieved]
    ) -> tuple[Question, dict[str, dict[str, int]]]:
        """A question's distinct prompts, and which of them each retriever has.

        Also what each retriever's prompts lost to fit: `num_truncated` Backgrounds
        were cut, and `num_dropped` demonstrations left out.
        """
        num_chunks = self._config.predict.num_chunks
        instruction = next(iter(found.values())).instruction
        read = {name: self._read(item.chunk_ids) for name, item in found.items()}
        distinct = list(dict.fromkeys(ids for some in read.values() for ids in some))
        prompts = self._prompts(instruction, distinct)
        rows = {name: tuple(map(distinct.index, some)) for name, some in read.items()}
        retrievals = {
            name: Retrieval(rows[name], self.log_p_r(item.scores[:num_chunks]))
            for name, item in found.items()
        }
        lost = {
            name: {
                "num_truncated": sum(
                    prompts[r].cut.background for r in set(rows[name])
                ),
                "num_dropped": prompts[0].num_dropped,
            }
            for name, some in rows.items()
        }
        question = Question(
            [prompt.prompt_ids for prompt in prompts],
            retrievals,
            instruction.answers[0] if instruction.answers else None,
            prompts[0].prefix_ids,
            instruction.id,
        )
        return question, lost

    def _read(self, chunk_ids: Sequence[int]) -> list[tuple[int, ...]]:
        """The chunks that stand in the Background of each of the k prompts.

        Concatenated, all stand in one that serves all k: the retriever's weights,
        which sum to 1, then leave its answer's probability as it is.
        """
        chunk_ids = tuple(chunk_ids[: self._config.predict.num_chunks])
        if self._config.predict.mode == "concatenate":
            return [chunk_ids] * max(1, len(chunk_ids))
        return [(chunk_id,) for chunk_id in chunk_ids] or [()]

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

    def _prompts(
        self, instruction: Instruction, read: Sequence[tuple[int, ...]]
    ) -> list[FewShot]:
        """One for each set of chunks; best first, so the worst are cut to fit."""
        wanted = list(dict.fromkeys(i for chunk_ids in read for i in chunk_ids))
        chunks = dict(zip(wanted, self.store.get_many(wanted), strict=True))
        found = []
        for chunk_ids in read:
            passages = [chunks[i].passage for i in chunk_ids]
            prompt = templates.encode_prompt(
                self._tokenizer,
                instruction.id,
                instruction.question,
                passage="\n".join(passages) if passages else None,
            )
            found.append(self._fit(prompt))
        return found

    def _fit(self, prompt: templates.Prompt) -> FewShot:
        return demonstrations.fit_few_shot(
            prompt,
            self._demonstrations,
            self._config.lm.max_tokens,
            self._config.predict.max_answer_tokens,
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
