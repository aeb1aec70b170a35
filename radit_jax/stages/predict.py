"""Stage 9: dev questions, an LM, retrieved chunks → answers (Eq. 2)."""

import dataclasses
from typing import Any

import numpy as np
from etils import epath

from radit_jax import artifacts, fingerprint, room
from radit_jax.artifacts import Artifact, Draft
from radit_jax.config import Config, PredictConfig
from radit_jax.corpus.questions import subset
from radit_jax.corpus.store import ChunkStore
from radit_jax.evaluation import probes, systems
from radit_jax.inference.answerer import Answerer
from radit_jax.inference.answers import Answer
from radit_jax.inference.questions import Question
from radit_jax.models import weights
from radit_jax.progress import Progress
from radit_jax.stages import inputs
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.training import mesh
from radit_jax.types import Instruction, Retrieved
from radit_jax.workdir import Workdir

_CHUNK_BYTES = 1000  # of a prediction, for each chunk that it read


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Answers the dev questions with one LM behind each of the chosen retrievers.

    A chunk that several retrievers found for a question is read once. Writes
    `predictions-00000-of-0000n.jsonl`, a line a question and retriever.
    """
    path, made_of = output(config, workdir), identity(config, workdir)
    with artifacts.writing(path, "predict", *made_of, overwrite) as draft:
        if draft is not None:
            _predict(_settled(config), workdir, draft)
    return artifacts.load(path, "predict")


def output(config: Config, workdir: Workdir) -> epath.Path:
    """The folder of what it writes."""
    settings = config.predict
    if settings.probe:
        return workdir.probe(settings.lm, settings.probe)
    return workdir.predictions(settings.lm)


def identity(config: Config, workdir: Workdir) -> artifacts.Identity:
    """What that depends on: config sections, and hashes of inputs."""
    config = _settled(config)
    settings = config.predict
    # "base" always: its dev questions are the ones that are asked.
    retrieved = {
        name: inputs.retrieved(workdir, name).sha256
        for name in dict.fromkeys(("base", *settings.retrievers))
        if name != "none"
    }
    return (
        _section(config) | {"temperature": config.encoder.temperature},
        retrieved
        | {"lm": inputs.lm_hash(config, workdir, settings.lm)}
        | {"dev": fingerprint.hash_files(config.instructions.dev)},
    )


def _section(config: Config) -> dict[str, Any]:
    """What the answers depend on: without a probe, on none of its settings."""
    found = config.section("predict", "lm")
    if not config.predict.probe:
        del found["predict"]["probe"], found["predict"]["probe_chunks"]
    return found


def _settled(config: Config) -> Config:
    """Fills in the retrievers of this LM's systems, and the mode that a probe is of."""
    config, probe = _with_retrievers(config), config.predict.probe
    mode = config.predict.mode
    if probe:
        mode = "answer_ensemble" if mode == "concatenate" else mode
    if probe == "concatenate":
        mode = probe
    settings = dataclasses.replace(config.predict, mode=mode)
    return dataclasses.replace(config, predict=settings)


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
    if settings.probe:
        dev = _probed(settings, dev, inputs.chunk_store(workdir))
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
    devices = mesh.make_mesh(tensor=config.lm.tensor)
    label = f"predict {settings.lm}"
    models = inputs.load_lm(config, workdir, settings.lm, devices)
    num_chunks = total * len(settings.retrievers) * max(settings.num_chunks, 1)
    held = weights.num_bytes(models[0])
    room.check(draft.path, label, num_chunks * _CHUNK_BYTES, held)
    store, shown = inputs.chunk_store(workdir), _demonstrations(settings, workdir)
    answerer = Answerer(config, *models, store, shown)
    left = sum(len(part) for _, part in todo)
    progress = Progress(total, "questions", label, done=total - left)
    for file, part in todo:
        asked = [answerer.question(item) for item in part]
        answers = answerer.answer([question for question, _ in asked], progress)
        records = [
            {"retriever": name, **lost[name]}
            | _record(item[name], answer)
            | {"log_p_r": question.retrievals[name].log_p_r}
            | _num_tokens(question, name, answer, models[1])
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


def _probed(
    settings: PredictConfig, dev: list[dict[str, Retrieved]], store: ChunkStore
) -> list[dict[str, Retrieved]]:
    """For each question, what the probe shows it in place of what was retrieved."""
    found = [retrieved for item in dev for retrieved in item.values()]
    if settings.probe == "passages":
        return probes.passages(found, store, settings.seed)
    ks = [k for k in settings.probe_chunks if k <= settings.num_chunks]
    return [probes.depths(item, ks) for item in found]


def _num_tokens(
    question: Question, name: str, answer: Answer, tokenizer: LMTokenizer
) -> dict[str, int]:
    """What one retriever's answer cost: tokens read, and written with their eos."""
    rows = set(question.retrievals[name].rows)
    prompts = [len(question.prefix) + len(question.prompts[row]) for row in rows]
    texts = dict(zip(question.retrievals[name].rows, answer.chunk_answers, strict=True))
    written = [len(tokenizer.encode(text)) + 1 for text in texts.values()]
    return {"num_prompt_tokens": sum(prompts), "num_answer_tokens": sum(written)}


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
