"""Publishers' records as items; each also takes the Hugging Face hub's form of it."""

from radit_jax.corpus.records import Fault
from radit_jax.evaluation.benchmarks import fields, prompts
from radit_jax.evaluation.benchmarks.item import Item, Page, Record


def nq(default_id: str, record: Record) -> Item:
    """NQ-open's `question` and `answer`, and DPR's rows of the same."""
    answers = fields.texts(record.get("answer"), "answers")
    return Item(default_id, "nq", fields.text(record, "question"), answers)


def triviaqa(default_id: str, record: Record) -> Item:
    """The value, its aliases and the normalised aliases are all accepted.

    So does the official evaluation, which compares normalised strings only. DPR's
    rows have the aliases alone.
    """
    answer = record.get("Answer", record.get("answer"))
    if isinstance(answer, dict):
        names = ("Value", "Aliases", "NormalizedAliases", "HumanAnswers")
        hub_names = ("value", "aliases", "normalized_aliases", "human_answers")
        pairs = zip(names, hub_names, strict=True)
        found = [answer.get(a, answer.get(b)) for a, b in pairs]
        answer = [found[0] or "", *(one for more in found[1:] for one in more or ())]
    return Item(
        fields.identifier(record, ("QuestionId", "question_id"), default_id),
        "triviaqa",
        fields.text(record, "Question", "question"),
        fields.texts(answer, "answers"),
    )


def mmlu(default_id: str, record: Record) -> Item:
    """A CSV's row, or the hub's record; the letter or number names the option."""
    options = fields.options(record.get("choices"), "choices")
    if len(options) != len(prompts.LETTERS):
        raise Fault(f"has {len(options)} choices, not 4. Correct it, or drop it.")
    answer = record.get("answer")
    labels = range(4) if isinstance(answer, int) else prompts.LETTERS
    return Item(
        default_id,
        "mmlu",
        fields.text(record, "question"),
        options=options,
        gold=fields.place(answer, labels),
        subject=fields.text(record, "subject"),
    )


def hotpotqa(default_id: str, record: Record) -> Item:
    """KILT's record."""
    return _kilt("hotpotqa", default_id, record)


def eli5(default_id: str, record: Record) -> Item:
    """KILT's record; every answer that has text is accepted."""
    return _kilt("eli5", default_id, record)


def zsre(default_id: str, record: Record) -> Item:
    """KILT's record, "entity [SEP] relation"."""
    return _kilt("zsre", default_id, record)


def trex(default_id: str, record: Record) -> Item:
    """KILT's record, "entity [SEP] relation"."""
    return _kilt("trex", default_id, record)


def fever(default_id: str, record: Record) -> Item:
    """KILT's record; its labels become the options Yes and No, and stay `answers`."""
    found = _kilt("fever", default_id, record)
    verbalizers = prompts.FEVER_VERBALIZERS
    return Item(
        found.id,
        "fever",
        found.question,
        found.answers,
        options=tuple(verbalizers.values()),
        gold=fields.place(found.answers[0], tuple(verbalizers)),
        evidence=found.evidence,
    )


def aida(default_id: str, record: Record) -> Item:
    """KILT's record: a text with one mention marked. The mention is the question."""
    found = _kilt("aida", default_id, record)
    mention = prompts.mention(found.question)
    if not mention:
        raise Fault(
            "marks no mention between [START_ENT] and [END_ENT]. Correct it, or drop "
            "the record."
        )
    return Item(
        found.id,
        "aida",
        mention,
        found.answers,
        context=found.question,
        evidence=found.evidence,
    )


def wow(default_id: str, record: Record) -> Item:
    """KILT's record: a line a turn, the last the one to answer."""
    found = _kilt("wow", default_id, record)
    turns = [turn.strip() for turn in found.question.split("\n") if turn.strip()]
    return Item(
        found.id,
        "wow",
        turns[-1],
        found.answers,
        history=tuple(turns[:-1]),
        evidence=found.evidence,
    )


def _kilt(task: str, default_id: str, record: Record) -> Item:
    """The common form: `input`, and `output` with answers and their provenance.

    ToG's copies of KILT's dev sets have `answer` and maybe `alias` in its place.
    """
    question = fields.text(record, "input")
    output = record.get("output")
    if output is None and isinstance(record.get("answer"), str):
        aliases = record.get("alias") or ()
        output = [{"answer": one} for one in (record["answer"], *aliases)]
    if not isinstance(output, list) or not all(isinstance(o, dict) for o in output):
        raise Fault(
            f"has no list of 'output'; found {list(record)}. KILT's test files have no "
            "answers: take its dev file."
        )
    answers = [one["answer"] for one in output if one.get("answer") is not None]
    evidence = (_pages(one.get("provenance")) for one in output)
    return Item(
        fields.identifier(record, ("id",), default_id),
        task,
        question,
        fields.texts(answers, "answers"),
        evidence=tuple(dict.fromkeys(pages for pages in evidence if pages)),
    )


def _pages(provenance: list[dict] | None) -> tuple[Page, ...]:
    pages = (
        Page(str(one.get("wikipedia_id") or "").strip(), str(one.get("title") or ""))
        for one in provenance or ()
    )
    return tuple(dict.fromkeys(page for page in pages if page.wikipedia_id))


def boolq(default_id: str, record: Record) -> Item:
    """The options are yes and no; the passage goes without its title."""
    return Item(
        default_id,
        "boolq",
        fields.text(record, "question"),
        options=("yes", "no"),
        gold=fields.place(record.get("answer"), (True, False)),
        context=fields.text(record, "passage"),
    )


def piqa(default_id: str, record: Record) -> Item:
    """The goal is the question, the two solutions are the options."""
    return Item(
        fields.identifier(record, ("id",), default_id),
        "piqa",
        fields.text(record, "goal"),
        options=(fields.text(record, "sol1"), fields.text(record, "sol2")),
        gold=fields.place(record.get("label"), (0, 1)),
    )


def siqa(default_id: str, record: Record) -> Item:
    """Labels count from 1."""
    names = ("answerA", "answerB", "answerC")
    return Item(
        default_id,
        "siqa",
        fields.text(record, "question"),
        options=tuple(fields.text(record, name) for name in names),
        gold=fields.place(record.get("label"), (1, 2, 3)),
        context=fields.text(record, "context"),
    )


def hellaswag(default_id: str, record: Record) -> Item:
    """The context begins with the activity, as in lm-evaluation-harness."""
    activity = fields.text(record, "activity_label")
    second = str(record.get("ctx_b") or "").capitalize()
    begun = f"{activity}: {fields.text(record, 'ctx_a', 'ctx')} {second}"
    endings = fields.options(record.get("endings"), "endings")
    return Item(
        default_id,
        "hellaswag",
        activity,
        options=tuple(prompts.without_brackets(ending) for ending in endings),
        gold=fields.place(record.get("label"), range(len(endings))),
        context=prompts.without_brackets(begun),
    )


def winogrande(default_id: str, record: Record) -> Item:
    """The sentence, whose `_` stands for one of the options, is the question."""
    sentence = fields.text(record, "sentence")
    if sentence.count("_") != 1:
        raise Fault(
            f"has {sentence.count('_')} blanks '_' in its sentence, not 1. Correct it, "
            "or drop the record."
        )
    return Item(
        fields.identifier(record, ("qID",), default_id),
        "winogrande",
        sentence,
        options=(fields.text(record, "option1"), fields.text(record, "option2")),
        gold=fields.place(record.get("answer"), (1, 2)),
    )


def arc_e(default_id: str, record: Record) -> Item:
    """ARC-Easy; three to five options, lettered or numbered."""
    return _choice("arc_e", default_id, record)


def arc_c(default_id: str, record: Record) -> Item:
    """ARC-Challenge; likewise."""
    return _choice("arc_c", default_id, record)


def obqa(default_id: str, record: Record) -> Item:
    """OpenBookQA's main set, without the fact that it hints at."""
    return _choice("obqa", default_id, record)


def _choice(task: str, default_id: str, record: Record) -> Item:
    labels, options = fields.choices(record)
    question = record.get("question")
    stem = question if isinstance(question, dict) else record
    return Item(
        fields.identifier(record, ("id",), default_id),
        task,
        fields.text(stem, "stem", "question_stem", "question"),
        options=options,
        gold=fields.place(record.get("answerKey"), labels),
    )
