"""Multiple choice by the weighted probability of each option (RA-DIT, section 4).

log p(y | x) = log Σ_c p_LM(y | c∘x) p_R(c | x)   (Eq. 2), for every option y; then

    nll        log p(y | x)
    nll_char   log p(y | x) / characters of y
    nll_token  log p(y | x) / tokens of y
    nll_compl  log p(y | x) - log p_LM(y | "Answer:")

and the best option has the highest score, in nats: the names are the paper's, the sign
is a log-likelihood's. The paper does not say whether chunks are mixed before or after
dividing; here p(y | x) is mixed first, as Eq. 2 defines it. With one chunk, or none,
both are the same.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from radit_jax.inference import questions as questions_lib
from radit_jax.inference.placement import Tokens
from radit_jax.inference.questions import Retrieval
from radit_jax.inference.sampler import Sampler
from radit_jax.ops import ensemble
from radit_jax.progress import Progress
from radit_jax.text.tokenizer import LMTokenizer

SCORES = ("nll", "nll_char", "nll_token", "nll_compl")
BARE_PROMPT = "Answer:"


@dataclasses.dataclass(frozen=True, slots=True)
class ChoiceQuestion:
    """A question with its options."""

    prompts: Sequence[Tokens]  # distinct; one a chunk, or one without any chunk
    retrievals: Mapping[str, Retrieval]  # by the retriever's name
    options: Sequence[Tokens]  # two or more, scored as given: no eos is put behind
    option_chars: Sequence[int]  # characters of each option's text
    bare: Tokens = ()  # `bare_prompt`'s ids; (): no nll_compl
    prefix: Tokens = ()  # before every prompt: bos and demonstrations
    # Of each option, read before it and not scored (WinoGrande's word, where the
    # option is the rest of the sentence); (): none.
    heads: Sequence[Tokens] = ()

    def check(self, what: str) -> None:
        """Refuses options and retrievals that can't be scored.

        Raises:
          ValueError: with the values and the remedy.
        """
        if len(self.options) < 2:
            raise ValueError(
                f"{what} has {len(self.options)} options; give at least two to "
                "choose from."
            )
        if len(self.option_chars) != len(self.options):
            raise ValueError(
                f"{what} has {len(self.options)} options, but the characters of "
                f"{len(self.option_chars)}; give one number an option."
            )
        if self.heads and len(self.heads) != len(self.options):
            raise ValueError(
                f"{what} has {len(self.options)} options, but {len(self.heads)} "
                "heads; give one an option, or none at all."
            )
        pairs = zip(self.options, self.option_chars, strict=True)
        for i, (option, chars) in enumerate(pairs):
            if not len(option) or chars < 1:
                raise ValueError(
                    f"option {i} of {what} has {len(option)} tokens and {chars} "
                    "characters; an empty option has no score: leave it out."
                )
        questions_lib.check_retrievals(self.retrievals, len(self.prompts), what)


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """How a question's options score with one retriever."""

    log_likelihood: Float[np.ndarray, "a k"]  # log p_LM(option | chunk, x), nats
    scores: dict[str, Float[np.ndarray, "a"]]  # by name of `SCORES`, nats

    def best(self, score: str) -> int:
        """The option with the highest score; of equal ones the first.

        Raises:
          ValueError: a score that was not made.
        """
        if score not in self.scores:
            raise ValueError(
                f"the score {score!r} is not one of {tuple(self.scores)}; nll_compl "
                "needs the question's bare prompt."
            )
        return int(np.argmax(self.scores[score]))


def bare_prompt(tokenizer: LMTokenizer) -> list[int]:
    """Ids of "Answer:", for nll_compl."""
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    return [*bos, *tokenizer.encode(BARE_PROMPT)]


def choose(
    sampler: Sampler,
    questions: Sequence[ChoiceQuestion],
    batch_size: int,
    progress: Progress | None = None,
) -> list[dict[str, Choice]]:
    """Scores every option of every question; options share their prompt's cache.

    Args:
      sampler: holds the LM.
      questions: any number; batches are made of whole questions of like length.
      batch_size: prompts that run together.
      progress: is told of each answered question.

    Returns:
      For each question, in the order given, a choice for each of its retrievals.

    Raises:
      ValueError: options or retrievals that can't be scored, all of them checked
        before any is.
    """
    for i, question in enumerate(questions):
        question.check(f"question {i}")
    sizes = [questions_lib.size(q.prefix, q.prompts) for q in questions]
    found: list[dict[str, Choice]] = [{} for _ in questions]
    for group in questions_lib.groups(sizes, batch_size):
        part = [questions[i] for i in group]
        for i, choice in zip(group, _choose(sampler, part, batch_size), strict=True):
            found[i] = choice
        if progress is not None:
            progress.update(len(group))
    return found


def _choose(
    sampler: Sampler, questions: Sequence[ChoiceQuestion], batch_size: int
) -> Iterator[dict[str, Choice]]:
    """A group of one prefix."""
    asked = [(prompt, q) for q in questions for prompt in q.prompts]
    rows = iter(_score(sampler, asked, batch_size, questions[0].prefix))
    by_prompt = [np.array([next(rows) for _ in q.prompts]).T for q in questions]
    bare = [(q.bare, q) for q in questions if q.bare]
    bare_rows = iter(_score(sampler, bare, batch_size, ()))
    for question, table in zip(questions, by_prompt, strict=True):
        alone = next(bare_rows) if question.bare else None
        yield {
            name: _choice(question, table[:, list(retrieval.rows)], retrieval, alone)
            for name, retrieval in question.retrievals.items()
        }


def _score(
    sampler: Sampler,
    asked: Sequence[tuple[Tokens, ChoiceQuestion]],
    batch_size: int,
    prefix: Tokens,
) -> Iterator[Float[np.ndarray, "_a"]]:
    """Of each prompt with its question, log p(option | prompt)."""
    for start in range(0, len(asked), batch_size):
        some = asked[start : start + batch_size]
        prompts = [prompt for prompt, _ in some]
        num_rows = sampler.batch_rows(len(prompts), batch_size)
        prefilled = sampler.prefill(prompts, num_rows, prefix)
        texts = [_headed(question) for _, question in some]
        scores = sampler.rescore_tokens(prefilled, texts)
        for row, (_, question) in zip(scores, some, strict=True):
            pairs = zip(row, question.options, strict=True)
            # The option's tokens come last.
            sums = [tokens[-len(option) :].sum() for tokens, option in pairs]
            yield np.array(sums, np.float32)


def _headed(question: ChoiceQuestion) -> list[list[int]]:
    heads = question.heads or [()] * len(question.options)
    pairs = zip(heads, question.options, strict=True)
    return [[*head, *option] for head, option in pairs]


def _choice(
    question: ChoiceQuestion,
    log_likelihood: Float[np.ndarray, "a k"],
    retrieval: Retrieval,
    alone: Float[np.ndarray, "a"] | None,
) -> Choice:
    log_p_r = jnp.asarray([retrieval.log_p_r], jnp.float32)
    mixed = ensemble.mix_answers(jnp.asarray(log_likelihood)[None], log_p_r)
    nll = np.asarray(mixed)[0]
    scores = {
        "nll": nll,
        "nll_char": nll / np.array(question.option_chars, np.float32),
        "nll_token": nll / np.array([len(o) for o in question.options], np.float32),
    }
    if alone is not None:
        scores["nll_compl"] = nll - alone
    return Choice(log_likelihood, scores)
