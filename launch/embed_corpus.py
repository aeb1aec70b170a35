"""Stage 2. Embeds every chunk with the passage tower.

python -m launch.embed_corpus --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import embed_corpus

if __name__ == "__main__":
    cli.run_stage(embed_corpus.run)
