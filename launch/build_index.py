"""Stage 3. Builds the search index and measures its recall.

python -m launch.build_index --config=configs/quickstart.py --workdir=runs/q
"""

from launch import cli
from radit_jax.stages import build_index

if __name__ == "__main__":
    cli.run_stage(build_index.run)
