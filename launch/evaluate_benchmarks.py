r"""The paper's tables with our numbers beside the published ones, as far as they go.

    python -m launch.evaluate_benchmarks --config=configs/paper_tables.py:quickstart \
        --workdir=runs/q --table=2

Runs every line that the workdir's LMs, towers and index and the files of the folder
--config.benchmarks.folder allow (it lays each benchmark in a folder of its name), and
says what it takes to fill the others. --table=2,3 names several; without it all are
made: 2 to 7 and 13. A killed evaluation goes on at its last
--config.benchmarks.shard_size questions, and nothing that is finished is done again.
"""

from collections.abc import Sequence

from absl import flags, logging

from launch import cli
from radit_jax.config import Config
from radit_jax.evaluation import paper_tables
from radit_jax.evaluation.benchmarks.job import Reader
from radit_jax.evaluation.paper_tables import PaperTable
from radit_jax.stages import evaluate_benchmarks, paper_table, retrieve_benchmarks
from radit_jax.workdir import Workdir

TABLE = flags.DEFINE_string("table", "", "Numbers, such as 2 or 2,3; none: all.")
_SECTIONS = ("lm", "retrieve", "evaluation", "benchmarks")


def run(
    config: Config,
    workdir: Workdir,
    tables: Sequence[PaperTable],
    overwrite: bool = False,
) -> list[str]:
    """Does what can be done of the tables, and returns each as Markdown."""
    paper_tables.check_names(config.benchmarks)
    wanted = {job: "" for table in tables for _, job in table.jobs(config.benchmarks)}
    reasons = {job: paper_table.missing(config, workdir, job) for job in wanted}
    jobs = [job for job, reason in reasons.items() if not reason]
    logging.info("%d of %d cells can be filled.", len(jobs), len(wanted))
    if any(job.run.retriever != "none" for job in jobs):
        config.validate("encoder")
    reader = Reader(config.benchmarks)
    reader.check(jobs)
    retrieve_benchmarks.run(config, workdir, jobs, reader, overwrite)
    reasons |= evaluate_benchmarks.run(config, workdir, jobs, reader, overwrite)
    scores = {
        job: evaluate_benchmarks.read(workdir, job)
        for job, reason in reasons.items()
        if not reason
    }
    written = [
        paper_table.run(config, workdir, table, scores, reasons) for table in tables
    ]
    return [(artifact.path / "table.md").read_text() for artifact in written]


def main(argv: Sequence[str]) -> None:
    """Makes the tables, and prints them."""
    cli.refuse_arguments(argv)
    tables = paper_tables.choose(TABLE.value)
    config, workdir = cli.prepare(*_SECTIONS)
    for text in run(config, workdir, tables, cli.OVERWRITE.value):
        print(text)
    logging.info("Written to %s.", workdir.path / "benchmarks" / "tables")


if __name__ == "__main__":
    cli.run_main(main)
