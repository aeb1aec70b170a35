r"""Does a stage fit a TPU slice, and how fast can it be? No TPU is needed.

    pip install 'radit_jax[tpu]'
    python -m launch.plan_tpu --config=configs/ra_dit_65b.py --topology=v5p:4x4x4 \
      [--stage=finetune_lm] [--num_chunks=399000000] [--json=FILE]

The stage's own steps are compiled for the slice, by the TPU's own compiler, from
shapes: no weight is read or made. Their memory is what the compiler counts; their
time is a bound from the chip's published figures, which no run has been held against.
"""

import json
from collections.abc import Sequence

from absl import app, flags
from etils import epath

from launch import cli
from radit_jax.config import Config, ConfigError
from radit_jax.planning import report, search, stages
from radit_jax.retrieval import exact_index

_STAGE = flags.DEFINE_enum(
    "stage", "finetune_lm", ["retrieve", *stages.STEPS], "What to plan."
)
_TOPOLOGY = flags.DEFINE_string("topology", None, "Chip and shape, e.g. v5e:8x8.")
_NUM_CHUNKS = flags.DEFINE_integer("num_chunks", 399_000_000, "Of the corpus.")
_WIDTH = flags.DEFINE_integer("width", 768, "Of the embeddings; for retrieve.")
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 256, "Queries searched together; for retrieve."
)
_JSON = flags.DEFINE_string("json", None, "File that keeps the plan.")


def main(argv: Sequence[str]) -> None:
    """Plans, and prints what came out."""
    cli.refuse_arguments(argv)
    if not cli.CONFIG.value or not _TOPOLOGY.value:
        raise app.UsageError("give --config=configs/….py and --topology=CHIP:SHAPE.")
    for flag in (_NUM_CHUNKS, _WIDTH, _BATCH_SIZE):
        if flag.value < 1:
            raise ConfigError(f"--{flag.name}={flag.value}; give a number above 0.")
    cli.CONFIG.value.settle("tpu")
    if _STAGE.value == "retrieve":
        plan = search.plan(_corpus(cli.CONFIG.value), _TOPOLOGY.value)
        print(report.of_search(plan))
    else:
        plan = stages.plan(
            cli.CONFIG.value, _STAGE.value, _TOPOLOGY.value, _NUM_CHUNKS.value
        )
        print(report.of_stage(plan))
    if _JSON.value:
        epath.Path(_JSON.value).write_text(json.dumps(plan, indent=1) + "\n")


def _corpus(config: Config) -> search.Corpus:
    config.validate("index", "retrieve")
    is_bfloat16 = config.index.rows_dtype == "bfloat16"
    return search.Corpus(
        num_chunks=_NUM_CHUNKS.value,
        width=_WIDTH.value,
        is_bfloat16=is_bfloat16,
        batch_size=_BATCH_SIZE.value,
        num_candidates=exact_index.num_candidates(
            config.retrieve.num_chunks, _NUM_CHUNKS.value, is_bfloat16
        ),
        approximate_recall=config.index.approximate_recall,
    )


if __name__ == "__main__":
    cli.run_main(main)
