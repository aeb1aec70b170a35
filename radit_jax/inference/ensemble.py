"""Answers by parallel in-context augmentation over retrieved chunks (RA-DIT, Eq. 2).

A question has one prompt a chunk. Each prompt is read and decoded by itself; the
unique answers are the candidates; every candidate is scored under every chunk; the
scores are mixed by log p_R. Several retrievers may look at one question: each names
its rows of the question's distinct prompts, so a chunk that two of them found is
read once.
"""

from collections.abc import Iterator, Sequence

from radit_jax.inference import answers
from radit_jax.inference.answers import Answer, Scored
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.questions import Question, groups
from radit_jax.inference.sampler import Sampler
from radit_jax.inference.watching import Watch, Watcher
from radit_jax.progress import Progress
from radit_jax.text.tokenizer import LMTokenizer


def answer_ensemble(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    questions: Sequence[Question],
    batch_size: int,
    decoding: Decoding,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> list[dict[str, Answer]]:
    """Eq. 2: argmax over answers y of Σ_c p_LM(y | c∘x) p_R(c | x).

    Answers are told apart by their text before its end, without outer spaces. A chunk
    under which the LM says nothing gives no candidate, unless all chunks do: with eos
    alone to score, saying nothing would beat most answers.

    Args:
      sampler: holds the LM.
      tokenizer: the LM's.
      questions: any number; batches are made of whole questions of like length.
      batch_size: prompts that run together. A question with more takes several
        batches, whose caches are all held until it is answered.
      decoding: of the chunks' answers.
      progress: is told of each answered question.
      watch: is told of each prompt's answer while it grows.

    Returns:
      For each question, in the order given, an answer for each of its retrievals.

    Raises:
      ValueError: a retrieval that does not fit its question's prompts.
    """
    for i, question in enumerate(questions):
        question.check(f"question {i}")
    scored: dict[int, Scored] = {}
    for group in groups([question.size for question in questions], batch_size):
        part = [questions[i] for i in group]
        tell = None if watch is None else _of_group(watch, group)
        scores = _score(sampler, tokenizer, part, batch_size, decoding, tell)
        scored.update(zip(group, scores, strict=True))
        if progress is not None:
            progress.update(len(group))
    return answers.mix(questions, [scored[i] for i in range(len(questions))])


def _of_group(watch: Watch, group: Sequence[int]) -> Watch:
    """Takes the questions' numbers in their group."""
    return lambda i, prompt, text: watch(group[i], prompt, text)


def _score(
    sampler: Sampler,
    tokenizer: LMTokenizer,
    group: Sequence[Question],
    batch_size: int,
    decoding: Decoding,
    watch: Watch | None,
) -> Iterator[Scored]:
    """Decodes a group's prompts, then scores its candidates on the same caches."""
    prompts = [prompt for question in group for prompt in question.prompts]
    places = [(i, j) for i, q in enumerate(group) for j in range(len(q.prompts))]
    seed = decoding.sampling.seed
    seeds = [one for question in group for one in question.seeds(seed)]
    caches, texts = [], []
    for start in range(0, len(prompts), batch_size):
        rows = slice(start, start + batch_size)
        num_rows = sampler.batch_rows(len(prompts[rows]), batch_size)
        prefilled = sampler.prefill(prompts[rows], num_rows, group[0].prefix)
        watcher = watch and Watcher(watch, tokenizer, decoding, places[rows])
        found = sampler.decode(prefilled, decoding, seeds=seeds[rows], watch=watcher)
        texts += [text.strip() for text in decoding.texts(tokenizer, *found)]
        caches.append(prefilled)
    rest = iter(texts)
    texts_of = [[next(rest) for _ in question.prompts] for question in group]
    return answers.score(sampler, tokenizer, group, texts_of, caches)
