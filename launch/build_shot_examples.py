r"""Beside the stages. Draws the paper's 64-shot examples from the benchmarks.

    for stage in build_shot_examples finetune_lm; do
      python -m launch.$stage --config=configs/ra_it_64shot.py:quickstart \
        --workdir=runs/q
    done

Then `launch.evaluate_benchmarks --table=2` fills the line "RA-DIT, 64-shot".
"""

from launch import cli
from radit_jax.stages import build_shot_examples

if __name__ == "__main__":
    cli.run_stage(build_shot_examples.run)
