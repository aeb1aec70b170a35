r"""The prompts of paper §6, and what the retriever is asked.

Each ends where the answer begins; "A: {answer}" is the block "…A:" and the block
" {answer}". The Background, where there is one, stands before the question block.
What the paper leaves open is decided here, each time in the docstring.
"""

import re

from radit_jax.evaluation.benchmarks.item import Item, Segments, segments
from radit_jax.instruct.tasks import conversion
from radit_jax.text.templates import EVAL_MARKERS, question_block

FEVER_VERBALIZERS = {"SUPPORTS": "Yes", "REFUTES": "No"}
LETTERS = ("A", "B", "C", "D")
_MENTION = re.compile(r"\[START_ENT\](.*?)\[END_ENT\]", re.DOTALL)
_AIDA_TASK = (
    "Output the Wikipedia page title of the entity mentioned between [START_ENT] and "
    "[END_ENT] in the given text"
)
_BRACKETS = re.compile(r"\[.*?\]")


def question_answer(item: Item) -> Segments:
    r"""NQ, TriviaQA, HotpotQA, ELI5: `Q: {question}\nA: {answer}`."""
    return segments(question_block(item.question), item.answers)


def mmlu(item: Item) -> Segments:
    r"""`Question: {question}\nA. {choice}\n…\nD. {choice}\nA: {answer}`.

    The answer is the option's letter.
    """
    lines = ["Question: " + item.question, *conversion.lettered(item.options)]
    return segments("\n".join(lines) + "\nA:", LETTERS[: len(item.options)])


def mmlu_query(item: Item) -> str:
    """Question and choices, in the form of the fine-tuning sets with options."""
    return conversion.with_options(item.question, item.options)


def fever(item: Item) -> Segments:
    r"""`Is this statement true? {statement}\nA: {answer}`, answered Yes or No.

    The paper is silent on the words; Yes and No answer the question it asks.
    """
    return segments(f"Is this statement true? {item.question}\nA:", item.options)


def aida(item: Item) -> Segments:
    r"""`{context}\nOutput the Wikipedia page title of the entity …\nA: {answer}`."""
    return segments(f"{item.context}\n{_AIDA_TASK}\nA:", item.answers)


def mention(text: str) -> str:
    """What stands between [START_ENT] and [END_ENT]; "" without them."""
    found = _MENTION.search(text)
    return " ".join(found[1].split()) if found else ""


def slot(item: Item) -> Segments:
    r"""zsRE, T-REx: `{entity} [SEP] {relation}\nA: {answer}`."""
    return segments(f"{item.question}\nA:", item.answers)


def conversation(item: Item) -> Segments:
    r"""WoW: `Q: {turn}\nA: {turn}\nQ: …\nA: {answer}`.

    Turns alternate and the last is a question, so a conversation with an even number
    of turns begins with "A: ".
    """
    turns = (*item.history, item.question)
    asks = EVAL_MARKERS.question, "A: "
    lines = [asks[(len(turns) - 1 - i) % 2] + turn for i, turn in enumerate(turns)]
    return segments("\n".join(lines) + "\nA:", item.answers)


def conversation_query(item: Item) -> str:
    """The turns, joined."""
    return " ".join((*item.history, item.question))


def boolq(item: Item) -> Segments:
    r"""`{context}\nQuestion: {question}\nAnswer: {answer}`, answered yes or no."""
    block = f"{item.context}\nQuestion: {item.question}\nAnswer:"
    return segments(block, item.options)


def question_option(item: Item) -> Segments:
    r"""PIQA, ARC, OBQA: `Question: {question}\nAnswer: {answer}`."""
    return segments(f"Question: {item.question}\nAnswer:", item.options)


def siqa(item: Item) -> Segments:
    """`{context} Q: {question} A: {answer}`."""
    return segments(f"{item.context} Q: {item.question} A:", item.options)


def hellaswag(item: Item) -> Segments:
    """`{context} {ending}`."""
    return segments(item.context, item.options)


def winogrande(item: Item) -> Segments:
    """`{prefix} {answer} {suffix}`: the suffix is scored, after each of the options.

    That is the partial scoring of GPT-3 and of lm-evaluation-harness, which gave the
    LLaMA column that the paper takes over: an option would be judged without the very
    words that decide it, were it scored by itself. Both scored texts are the same, so
    `nll_char` ranks as `nll`.
    """
    prefix, _, suffix = item.question.partition("_")
    prefix, space = prefix.rstrip(), " " if prefix.strip() else ""
    heads = tuple(space + option for option in item.options)
    return Segments(prefix, (f" {suffix.strip()}",) * len(heads), heads)


def without_brackets(text: str) -> str:
    """HellaSwag's text without WikiHow's marks, as lm-evaluation-harness cleans it.

    Example: "Trim. [title] Cut it. [step] Now" becomes "Trim.. Cut it. Now".
    """
    text = text.strip().replace(" [title]", ". ")
    return _BRACKETS.sub("", text).replace("  ", " ")
