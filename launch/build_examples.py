"""Stage 5. Renders, tokenises and packs the LM's training examples.

python -m launch.build_examples --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import build_examples

if __name__ == "__main__":
    cli.run_stage(build_examples.run)
