"""Stage 7. Scores each retrieved chunk by the answer's likelihood under the LM.

python -m launch.score_chunks --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import score_chunks

if __name__ == "__main__":
    cli.run_stage(score_chunks.run)
