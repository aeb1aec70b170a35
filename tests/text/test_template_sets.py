"""The full string of one training example of each fine-tuning set (paper §2).

The records are invented, in the form in which each set's conversion gives them.
"""

import pytest

from radit_jax.instruct import tasks
from radit_jax.text import templates
from radit_jax.types import Instruction

PASSAGE = "Tern Island: A lighthouse was lit there in 1871."


def make(task, category, question, answer, **fields):
    return Instruction(
        f"{task}:7", question, (answer,), task=task, category=category, **fields
    )


def open_qa(task, question, answer):
    return make(task, "open_qa", question, answer)


def reading(task, question, answer, context, **fields):
    fields |= {"context": context}
    return make(task, "reading_comprehension", question, answer, **fields)


def thought(task, guidance, question, rationale, answer):
    return make(
        task,
        "chain_of_thought",
        question,
        answer,
        guidance=guidance,
        rationale=rationale,
    )


INSTRUCTIONS = (
    make(
        "oasst1",
        "dialogue",
        "And when was it lit?",
        "In 1871.\n\nIt still shines.",
        history=("What stands on Tern Island?", "A lighthouse."),
    ),
    open_qa(
        "commonsense_qa",
        "Where does a keeper sleep?\nA. lighthouse\nB. harbour\nC. ship",
        "lighthouse",
    ),
    open_qa("math_qa", "what is 3 % of 800 ?\nA. 24\nB. 240\nC. 2.4", "24"),
    open_qa("web_questions", "what year was the tern light lit?", "1871"),
    open_qa(
        "wiki_qa",
        "when was tern light built",
        "Tern Light was built in 1871 , of granite .",
    ),
    open_qa("yahoo_answers_qa", "Why do lighthouses blink?", "So you can tell which."),
    open_qa("freebase_qa", "Which island's light was lit in 1871?", "tern island"),
    open_qa("ms_marco", "tern light height", "The light is 31 metres high."),
    reading(
        "coqa",
        "And who lit it?",
        "Ada",
        "Ada Finch lit the lamp in 1871.",
        history=("What was lit?", "the lamp", "When?", "in 1871"),
    ),
    reading(
        "drop",
        "How many lamps were there in all?",
        "5",
        "Two lamps faced north and three faced south.",
    ),
    reading(
        "narrativeqa",
        "Why does Ada stay?",
        "To keep the lamp lit.",
        "Ada stays on the island through the winter to keep the lamp lit.",
    ),
    reading(
        "newsqa",
        "Who closed the light?",
        "the coast guard",
        "TERN ISLAND (Post) -- The light was closed by the coast guard.\nIt was old.",
    ),
    reading(
        "pubmed_qa",
        "Do keepers sleep less in winter?",
        "yes",
        "Twelve keepers were followed.\nThey slept an hour less in winter.",
    ),
    reading(
        "quail",
        "Who is Ada?\nA. a keeper\nB. a sailor\nC. not enough information",
        "a keeper",
        "Ada trimmed the wick each evening.",
    ),
    reading(
        "quarel",
        "Which stone is smoother?\nA. granite\nB. slate",
        "slate",
        "Ada slid a lamp over granite and over slate, and it went further on slate.",
    ),
    reading(
        "squad_v2",
        "Who built the second lighthouse?",
        "I don't know",
        "The lighthouse was built by Ada Finch.",
    ),
    make(
        "cnn_dailymail",
        "summarization",
        "Summarize this article:",
        "The light was closed.\nKeepers protest.",
        context="The coast guard closed the light on Monday. Its keepers protest.",
    ),
    thought(
        "aqua_rat",
        "Work it out, then give the right option.",
        "A lamp burns 3 litres a night. How many in 4 nights?\nA. 7\nB. 12",
        "3 x 4 = 12, so B.",
        "B. 12",
    ),
    thought(
        "ecqa",
        "Say why, then answer.",
        "Where does a keeper sleep?\nA. lighthouse\nB. ship",
        "A keeper lives in a lighthouse.",
        "lighthouse",
    ),
    thought(
        "gsm8k",
        "Solve it step by step.",
        "A lamp burns 3 litres a night. How many in 4 nights?",
        "It burns 3 * 4 = 12 litres.",
        "12",
    ),
    thought(
        "competition_math",
        "Solve it.",
        "Find $x$ if $2x = 8$.",
        "Halve both sides: $x = \\boxed{4}$.",
        "4",
    ),
    thought(
        "strategyqa",
        "Recall the facts, then answer Yes or No.",
        "Could a keeper see the moon in 1871?",
        "The moon is older than 1871.",
        "Yes",
    ),
)

BLOCK = "Background: Tern Island: A lighthouse was lit there in 1871.\n\n"

# The markers are those that the ids draw with seed 0.
EXPECTED = {
    "oasst1": (
        f"{BLOCK}Q: What stands on Tern Island? A: A lighthouse. "
        "Q: And when was it lit? A: In 1871.\n\nIt still shines."
    ),
    "commonsense_qa": (
        f"{BLOCK}Where does a keeper sleep?\nA. lighthouse\nB. harbour\nC. ship\n"
        "Answer: lighthouse"
    ),
    "math_qa": (f"{BLOCK}Q: what is 3 % of 800 ?\nA. 24\nB. 240\nC. 2.4\nAnswer: 24"),
    "web_questions": f"{BLOCK}Q: what year was the tern light lit?\nAnswer: 1871",
    "wiki_qa": (
        f"{BLOCK}Q: when was tern light built\n"
        "Answer: Tern Light was built in 1871 , of granite ."
    ),
    "yahoo_answers_qa": (
        f"{BLOCK}Q: Why do lighthouses blink?\nAnswer: So you can tell which."
    ),
    "freebase_qa": (f"{BLOCK}Q: Which island's light was lit in 1871?\nA: tern island"),
    "ms_marco": (
        f"{BLOCK}Question: tern light height\nA: The light is 31 metres high."
    ),
    "coqa": (
        "Background: Ada Finch lit the lamp in 1871.\n\n"
        "Q: What was lit?\nA: the lamp\nQ: When?\nA: in 1871\n"
        "Q: And who lit it?\nA: Ada"
    ),
    "drop": (
        "Background: Two lamps faced north and three faced south.\n\n"
        "How many lamps were there in all?\nAnswer: 5"
    ),
    "narrativeqa": (
        "Background: Ada stays on the island through the winter to keep the lamp lit."
        "\n\nQ: Why does Ada stay?\nAnswer: To keep the lamp lit."
    ),
    "newsqa": (
        "Background: TERN ISLAND (Post) -- The light was closed by the coast guard.\n"
        "It was old.\n\nQuestion: Who closed the light?\nA: the coast guard"
    ),
    "pubmed_qa": (
        "Background: Twelve keepers were followed.\n"
        "They slept an hour less in winter.\n\n"
        "Q: Do keepers sleep less in winter?\nA: yes"
    ),
    "quail": (
        "Background: Ada trimmed the wick each evening.\n\n"
        "Question: Who is Ada?\nA. a keeper\nB. a sailor\nC. not enough information\n"
        "Answer: a keeper"
    ),
    "quarel": (
        "Background: Ada slid a lamp over granite and over slate, and it went further "
        "on slate.\n\n"
        "Question: Which stone is smoother?\nA. granite\nB. slate\nAnswer: slate"
    ),
    "squad_v2": (
        "Background: The lighthouse was built by Ada Finch.\n\n"
        "Q: Who built the second lighthouse?\nAnswer: I don't know"
    ),
    "cnn_dailymail": (
        "Background: The coast guard closed the light on Monday. Its keepers protest."
        "\n\nSummarize this article:\nA: The light was closed.\nKeepers protest."
    ),
    "aqua_rat": (
        f"{BLOCK}Q: Work it out, then give the right option. "
        "A lamp burns 3 litres a night. How many in 4 nights?\nA. 7\nB. 12\n"
        "A: 3 x 4 = 12, so B. B. 12"
    ),
    "ecqa": (
        f"{BLOCK}Q: Say why, then answer. "
        "Where does a keeper sleep?\nA. lighthouse\nB. ship\n"
        "Answer: A keeper lives in a lighthouse. lighthouse"
    ),
    "gsm8k": (
        f"{BLOCK}Solve it step by step. "
        "A lamp burns 3 litres a night. How many in 4 nights?\n"
        "A: It burns 3 * 4 = 12 litres. 12"
    ),
    "competition_math": (
        f"{BLOCK}Solve it. Find $x$ if $2x = 8$.\n"
        "Answer: Halve both sides: $x = \\boxed{4}$. 4"
    ),
    "strategyqa": (
        f"{BLOCK}Q: Recall the facts, then answer Yes or No. "
        "Could a keeper see the moon in 1871?\n"
        "Answer: The moon is older than 1871. Yes"
    ),
}


def rendered(tokenizer, instruction, passage):
    prompt = templates.encode_instruction(
        tokenizer,
        instruction.id,
        instruction,
        passage=passage,
        answer=templates.target(instruction),
        markers=templates.draw_markers(instruction.id, seed=0),
    )
    ids, _ = templates.fit(prompt, 9999)
    return tokenizer.decode(ids)


def test_every_set_is_here_with_its_category():
    categories = {one.task: one.category for one in INSTRUCTIONS}
    assert categories == {name: task.category for name, task in tasks.TASKS.items()}
    assert set(categories.values()) == set(templates.CATEGORIES)


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda one: one.task)
def test_the_string_of_an_example(byte_tokenizer, instruction):
    found = rendered(byte_tokenizer, instruction, PASSAGE)
    assert found == EXPECTED[instruction.task]


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda one: one.task)
def test_plain_instruction_tuning_has_no_retrieved_background(
    byte_tokenizer, instruction
):
    expected = EXPECTED[instruction.task]
    if not instruction.context:
        expected = expected.removeprefix(BLOCK)
        assert "Background" not in expected
    assert rendered(byte_tokenizer, instruction, None) == expected
