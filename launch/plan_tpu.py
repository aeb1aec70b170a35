r"""Does a stage fit a TPU slice, and how fast can it be? No TPU is needed.

    pip install 'radit_jax[tpu]'
    python -m launch.plan_tpu --config=configs/ra_dit_7b.py --stage=retrieve \
      --topology=v5e:8x8 [--num_chunks=399000000] [--width=768] [--json=FILE]

The stage's own program is compiled for the slice, by the TPU's own compiler. Its
memory is what the compiler counts; its time is a bound from the chip's published
figures, which no run has been held against.
"""

import json
from collections.abc import Sequence

from absl import app, flags
from etils import epath

from launch import cli
from radit_jax.config import Config, ConfigError
from radit_jax.planning import search
from radit_jax.retrieval import exact_index

_STAGE = flags.DEFINE_enum("stage", "retrieve", ["retrieve"], "What to plan.")
_TOPOLOGY = flags.DEFINE_string("topology", None, "Chip and shape, e.g. v5e:8x8.")
_NUM_CHUNKS = flags.DEFINE_integer("num_chunks", 399_000_000, "Of the corpus.")
_WIDTH = flags.DEFINE_integer("width", 768, "Of the embeddings.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Queries searched together.")
_JSON = flags.DEFINE_string("json", None, "File that keeps the plan.")


def main(argv: Sequence[str]) -> None:
    """Plans, and prints what came out."""
    cli.refuse_arguments(argv)
    if not cli.CONFIG.value or not _TOPOLOGY.value:
        raise app.UsageError("give --config=configs/….py and --topology=CHIP:SHAPE.")
    plan = search.plan(_corpus(cli.CONFIG.value), _TOPOLOGY.value)
    print(_render(plan))
    if _JSON.value:
        epath.Path(_JSON.value).write_text(json.dumps(plan, indent=1) + "\n")


def _corpus(config: Config) -> search.Corpus:
    for flag in (_NUM_CHUNKS, _WIDTH, _BATCH_SIZE):
        if flag.value < 1:
            raise ConfigError(f"--{flag.name}={flag.value}; give a number above 0.")
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


def _render(plan: dict) -> str:
    lines = [
        f"{plan['chunks']:,} rows of {plan['width']} fit {plan['topology']}.",
        "",
        f"| a chip of {plan['chips']} | |",
        "|---|---:|",
        f"| rows and queries | {plan['argument_bytes'] / 1e9:.2f} GB |",
        f"| temporaries | {plan['temporary_bytes'] / 1e9:.2f} GB |",
        f"| together | {plan['peak_bytes'] / 1e9:.2f} of "
        f"{plan['chip_bytes'] / 1e9:.0f} GB |",
    ]
    lines += [
        f"| {name}, a batch | {plan[name + '_seconds'] * 1e3:.2f} ms |"
        for name in ("memory", "arithmetic", "links")
    ]
    lines += [
        "",
        f"Bound by {plan['bound']}: at most {plan['queries_a_second']:,.0f} queries/s.",
        f"Compiled in {plan['compile_seconds']:.0f} s.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run_main(main)
