"""The eighteen benchmarks of paper §6, each with its files, prompt, score and metric.

KILT's test files have no answers (its leaderboard keeps them), so its splits here are
train and dev. AIDA, zsRE and T-REx are answered freely and counted right as KILT's
own scorer counts accuracy: the answer is one of the accepted ones, letter by letter.
"""

from radit_jax.evaluation.benchmarks import conversions, prompts
from radit_jax.evaluation.benchmarks.item import Benchmark, Source

_KILT_HOMEPAGE = "https://github.com/facebookresearch/KILT"
_ARC_HOMEPAGE = "https://allenai.org/data/arc"


def _kilt(name: str, convert, prefix: str = "", licence: str = "MIT") -> Source:
    stem = prefix or name
    files = {split: (f"{stem}-{split}-kilt.jsonl",) for split in ("train", "dev")}
    return Source(_KILT_HOMEPAGE, licence, files, convert)


def _arc(name: str, convert) -> Source:
    splits = {"train": "Train", "dev": "Dev", "test": "Test"}
    files = {ours: (f"{name}-{theirs}.jsonl",) for ours, theirs in splits.items()}
    hub = {"dev": "validation"}
    return Source(_ARC_HOMEPAGE, "CC-BY-SA-4.0", files, convert, hub)


MMLU = Benchmark(
    name="mmlu",
    title="MMLU",
    kind="choice",
    metric="accuracy",
    score="nll",
    with_background=True,
    prompt=prompts.mmlu,
    query=prompts.mmlu_query,
    source=Source(
        "https://github.com/hendrycks/test",
        "MIT",
        # The five questions a subject that its authors show are its train split.
        {"train": ("data/dev",), "dev": ("data/val",), "test": ("data/test",)},
        conversions.mmlu,
        {"train": "dev", "dev": "validation"},
    ),
)
NQ = Benchmark(
    name="nq",
    title="NQ",
    kind="generate",
    metric="em",
    score="nll",
    with_background=True,
    prompt=prompts.question_answer,
    source=Source(
        "https://github.com/google-research-datasets/natural-questions",
        "CC-BY-SA-3.0",
        # The dev set that all use is DPR's part of train; NQ-open's own is the test.
        {
            "train": ("NQ-open.train.jsonl",),
            "dev": ("nq-dev.qa.csv",),
            "test": ("NQ-open.dev.jsonl",),
        },
        conversions.nq,
        {"test": "validation"},
    ),
)
TRIVIAQA = Benchmark(
    name="triviaqa",
    title="TQA",
    kind="generate",
    metric="em",
    score="nll",
    with_background=True,
    prompt=prompts.question_answer,
    source=Source(
        "https://nlp.cs.washington.edu/triviaqa/",
        "Apache-2.0 (the questions: for research)",
        {
            "train": ("unfiltered-web-train.json",),
            "dev": ("trivia-dev.qa.csv",),
            "test": ("unfiltered-web-dev.json",),
        },
        conversions.triviaqa,
        {"test": "validation"},
    ),
)
HOTPOTQA = Benchmark(
    name="hotpotqa",
    title="HoPo",
    kind="generate",
    metric="em",
    score="nll",
    with_background=True,
    prompt=prompts.question_answer,
    source=_kilt("hotpotqa", conversions.hotpotqa),
)
ELI5 = Benchmark(
    name="eli5",
    title="ELI5",
    kind="generate",
    metric="rouge_l",
    score="nll_token",
    with_background=True,
    prompt=prompts.question_answer,
    source=_kilt("eli5", conversions.eli5),
    max_answer_tokens=256,
)
FEVER = Benchmark(
    name="fever",
    title="FEV",
    kind="choice",
    metric="accuracy",
    score="nll",
    with_background=True,
    prompt=prompts.fever,
    source=_kilt("fever", conversions.fever),
)
AIDA = Benchmark(
    name="aida",
    title="AIDA",
    kind="generate",
    metric="accuracy",
    score="nll",
    with_background=True,
    prompt=prompts.aida,
    source=_kilt("aida", conversions.aida, "aidayago2"),
)
ZSRE = Benchmark(
    name="zsre",
    title="zsRE",
    kind="generate",
    metric="accuracy",
    score="nll",
    with_background=True,
    prompt=prompts.slot,
    source=_kilt("zsre", conversions.zsre, "structured_zeroshot"),
)
TREX = Benchmark(
    name="trex",
    title="T-REx",
    kind="generate",
    metric="accuracy",
    score="nll",
    with_background=True,
    prompt=prompts.slot,
    source=_kilt("trex", conversions.trex, licence="CC-BY-SA-4.0"),
)
WOW = Benchmark(
    name="wow",
    title="WoW",
    kind="generate",
    metric="f1",
    score="nll_token",
    with_background=True,
    prompt=prompts.conversation,
    query=prompts.conversation_query,
    source=_kilt("wow", conversions.wow),
    max_answer_tokens=64,
)
BOOLQ = Benchmark(
    name="boolq",
    title="BoolQ",
    kind="choice",
    metric="accuracy",
    score="nll_compl",
    with_background=False,
    prompt=prompts.boolq,
    source=Source(
        "https://github.com/google-research-datasets/boolean-questions",
        "CC-BY-SA-3.0",
        {"train": ("train.jsonl",), "dev": ("dev.jsonl",)},
        conversions.boolq,
        {"dev": "validation"},
    ),
)
PIQA = Benchmark(
    name="piqa",
    title="PIQA",
    kind="choice",
    metric="accuracy",
    score="nll_char",
    with_background=False,
    prompt=prompts.question_option,
    source=Source(
        "https://yonatanbisk.com/piqa/",
        "AFL-3.0",
        {
            "train": ("train.jsonl", "train-labels.lst"),
            "dev": ("valid.jsonl", "valid-labels.lst"),
        },
        conversions.piqa,
        {"dev": "validation"},
        "label",
    ),
)
SIQA = Benchmark(
    name="siqa",
    title="SIQA",
    kind="choice",
    metric="accuracy",
    score="nll_char",
    with_background=False,
    prompt=prompts.siqa,
    source=Source(
        "https://leaderboard.allenai.org/socialiqa",
        "CC-BY-4.0",
        {
            "train": ("train.jsonl", "train-labels.lst"),
            "dev": ("dev.jsonl", "dev-labels.lst"),
        },
        conversions.siqa,
        {"dev": "validation"},
        "label",
    ),
)
HELLASWAG = Benchmark(
    name="hellaswag",
    title="HellaSwag",
    kind="choice",
    metric="accuracy",
    score="nll_char",
    with_background=False,
    prompt=prompts.hellaswag,
    source=Source(
        "https://rowanzellers.com/hellaswag/",
        "MIT",
        {"train": ("hellaswag_train.jsonl",), "dev": ("hellaswag_val.jsonl",)},
        conversions.hellaswag,
        {"dev": "validation"},
    ),
)
WINOGRANDE = Benchmark(
    name="winogrande",
    title="WinoGrande",
    kind="choice",
    metric="accuracy",
    score="nll_char",
    with_background=False,
    prompt=prompts.winogrande,
    source=Source(
        "https://winogrande.allenai.org",
        "CC-BY-4.0",
        {"train": ("train_xl.jsonl",), "dev": ("dev.jsonl",)},
        conversions.winogrande,
        {"dev": "validation"},
    ),
)
ARC_E = Benchmark(
    name="arc_e",
    title="ARC-E",
    kind="choice",
    metric="accuracy",
    score="nll_char",
    with_background=False,
    prompt=prompts.question_option,
    source=_arc("ARC-Easy", conversions.arc_e),
)
ARC_C = Benchmark(
    name="arc_c",
    title="ARC-C",
    kind="choice",
    metric="accuracy",
    score="nll_char",
    with_background=False,
    prompt=prompts.question_option,
    source=_arc("ARC-Challenge", conversions.arc_c),
)
OBQA = Benchmark(
    name="obqa",
    title="OBQA",
    kind="choice",
    metric="accuracy",
    score="nll_compl",
    with_background=False,
    prompt=prompts.question_option,
    source=Source(
        "https://allenai.org/data/open-book-qa",
        "Apache-2.0",
        {split: (f"{split}.jsonl",) for split in ("train", "dev", "test")},
        conversions.obqa,
        {"dev": "validation"},
    ),
)
# In the order of the paper's tables.
KNOWLEDGE = (MMLU, NQ, TRIVIAQA, ELI5, HOTPOTQA, FEVER, AIDA, ZSRE, TREX, WOW)
COMMONSENSE = (BOOLQ, PIQA, SIQA, HELLASWAG, WINOGRANDE, ARC_E, ARC_C, OBQA)
BENCHMARKS = {benchmark.name: benchmark for benchmark in (*KNOWLEDGE, *COMMONSENSE)}
# Marked [M] in paper §6: by which score their answers are compared is from memory.
UNVERIFIED_SCORES = ("mmlu", "eli5", "zsre", "trex", "wow", "boolq")
