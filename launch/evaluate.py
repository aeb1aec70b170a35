r"""Stage 10. Scores the answers and writes the report.

python -m launch.evaluate --config=configs/quickstart.py --workdir=runs/q

With --table=2 it is launch.evaluate_benchmarks: the paper's table, ours beside it.
"""

from collections.abc import Sequence

from launch import cli, evaluate_benchmarks
from radit_jax.stages import evaluate


def main(argv: Sequence[str]) -> None:
    """Stage 10, or the paper's tables that are named."""
    if evaluate_benchmarks.TABLE.value:
        evaluate_benchmarks.main(argv)
    else:
        cli.stage_main(evaluate.run)(argv)


if __name__ == "__main__":
    cli.run_main(main)
