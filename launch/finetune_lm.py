"""Stage 6. Tunes the LM to answer with (or without) retrieved text.

python -m launch.finetune_lm --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import finetune_lm

if __name__ == "__main__":
    cli.run_training(finetune_lm.run)
