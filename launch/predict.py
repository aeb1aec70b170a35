"""Stage 9. Answers the dev questions.

python -m launch.predict --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import predict

if __name__ == "__main__":
    cli.run_stage(predict.run)
