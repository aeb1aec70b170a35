"""Stage 1. Splits documents into chunks.

python -m launch.chunk_corpus --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import chunk_corpus

if __name__ == "__main__":
    cli.run_stage(chunk_corpus.run)
