"""Stage 4. Finds the top chunks of every question.

python -m launch.retrieve --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import retrieve

if __name__ == "__main__":
    cli.run_stage(retrieve.run)
