"""Stage 5: retrieved questions → packed LM examples, k chunks → k examples."""

import numpy as np
from absl import logging

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.instruct import packing
from radit_jax.instruct.packing import Example
from radit_jax.models import pretrained
from radit_jax.stages import inputs
from radit_jax.text import templates
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.types import Retrieved
from radit_jax.workdir import Workdir


def run(config: Config, workdir: Workdir, overwrite: bool = False) -> Artifact:
    """Renders, tokenises and packs the train and validation questions.

    Kind "ra_it": every one of the first `num_chunks` chunks makes an example of its
    own (Eq. 3). Kind "it": the same questions without a Background.
    """
    kind = config.examples.kind
    retrieved = inputs.retrieved(workdir, "base")
    with artifacts.writing(
        workdir.examples(kind),
        "build_examples",
        config.section("examples") | {"max_tokens": config.lm.max_tokens},
        {
            "retrieved": retrieved.sha256,
            "tokenizer": fingerprint.hash_files(config.lm.path),
        },
        overwrite,
    ) as draft:
        if draft is not None and artifacts.is_main_process():
            _build(config, workdir, draft)
    return artifacts.load(workdir.examples(kind), "build_examples")


def _build(config: Config, workdir: Workdir, draft: artifacts.Draft) -> None:
    store = inputs.chunk_store(workdir)
    tokenizer = pretrained.load_lm_tokenizer(config.lm.path)
    for split in ("train", "validation"):
        found = inputs.read_retrieved(workdir, "base", split)
        examples, truncated = [], 0
        for item in found:
            for example, cut in render(item, store, tokenizer, config):
                examples.append(example)
                truncated += cut
        # Otherwise a question's examples would share a row, and so a step.
        generator = np.random.default_rng(config.examples.seed)
        examples = [examples[i] for i in generator.permutation(len(examples))]
        rows = packing.pack(examples, config.examples.row_tokens)
        with draft.file(f"{split}.safetensors") as path:
            packing.save_rows(path, rows)
        draft.counts[split] = {
            "questions": len(found),
            "examples": len(examples),
            "truncated_backgrounds": truncated,
            "rows": len(rows),
            "real_token_share": round(packing.real_token_share(rows), 4),
        }
        logging.info("build_examples: %s %s", split, draft.counts[split])


def render(
    item: Retrieved, store: ChunkStore, tokenizer: LMTokenizer, config: Config
) -> list[tuple[Example, bool]]:
    """The examples of one question, each with whether its Background was cut."""
    settings, question = config.examples, item.instruction
    passages: dict[int | None, str | None] = {None: None}
    if settings.kind == "ra_it":
        chunks = store.get_many(item.chunk_ids[: settings.num_chunks])
        passages = {chunk.id: chunk.passage for chunk in chunks}
    rendered = []
    for chunk_id, passage in passages.items():
        name = f"{question.id}/{chunk_id}"
        prompt = templates.encode_prompt(
            tokenizer,
            name,
            question.question,
            passage=passage,
            answer=question.answers[0],
            markers=templates.draw_markers(name, settings.seed),
        )
        tokens, truncated = templates.fit(prompt, config.lm.max_tokens)
        num_prompt_tokens = len(tokens) - prompt.num_target_tokens
        rendered.append((Example(name, tokens, num_prompt_tokens), truncated))
    return rendered
