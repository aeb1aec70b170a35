"""Stage 10. Scores the answers and writes the report.

python -m launch.evaluate --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import evaluate

if __name__ == "__main__":
    cli.run_stage(evaluate.run)
