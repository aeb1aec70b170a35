"""The fine-tuning sets of the paper, by name (paper §2)."""

from radit_jax.instruct.tasks import (
    chain_of_thought,
    dialogue,
    open_qa,
    reading_comprehension,
    summarization,
)
from radit_jax.instruct.tasks.task import Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        dialogue.OASST1,
        open_qa.COMMONSENSE_QA,
        open_qa.MATH_QA,
        open_qa.WEB_QUESTIONS,
        open_qa.WIKI_QA,
        open_qa.YAHOO_ANSWERS_QA,
        open_qa.FREEBASE_QA,
        open_qa.MS_MARCO,
        reading_comprehension.COQA,
        reading_comprehension.DROP,
        reading_comprehension.NARRATIVEQA,
        reading_comprehension.NEWSQA,
        reading_comprehension.PUBMED_QA,
        reading_comprehension.QUAIL,
        reading_comprehension.QUAREL,
        reading_comprehension.SQUAD_V2,
        summarization.CNN_DAILYMAIL,
        chain_of_thought.AQUA_RAT,
        chain_of_thought.ECQA,
        chain_of_thought.GSM8K,
        chain_of_thought.COMPETITION_MATH,
        chain_of_thought.STRATEGYQA,
    )
}

LM_TASKS: tuple[str, ...] = tuple(
    name for name in TASKS if name not in ("freebase_qa", "ms_marco")
)  # D_L: 20 sets
RETRIEVER_TASKS: tuple[str, ...] = (
    "oasst1",
    "commonsense_qa",
    "math_qa",
    "web_questions",
    "wiki_qa",
    "yahoo_answers_qa",
    "freebase_qa",
    "ms_marco",
    "pubmed_qa",  # this and the next: our reading of the paper's "10 tasks" (§8)
    "strategyqa",
)  # D_R
