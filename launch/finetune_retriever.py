"""Stage 8. Tunes the query tower towards the chunks the LM finds useful.

python -m launch.finetune_retriever --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import finetune_retriever

if __name__ == "__main__":
    cli.run_training(finetune_retriever.run)
