"""Stage 4. Finds the top chunks of every question.

    python -m launch.retrieve --config=configs/quickstart.py --workdir=runs/q

Or of anyone's questions, with no other files than the index (stages 1 to 3):

    python -m launch.retrieve --config=configs/quickstart.py --workdir=runs/q \
        --queries=questions.jsonl --out=found.jsonl

reads JSON lines with `question` and maybe `id`, or a .txt file with a question a line,
and writes the chunks to found.jsonl and a TREC run of their documents to found.run.
"""

from collections.abc import Sequence

from absl import flags, logging

from launch import cli
from radit_jax.stages import retrieve, retrieve_queries

_QUERIES = flags.DEFINE_string("queries", None, "File of questions: .jsonl or text.")
_OUT = flags.DEFINE_string("out", None, "Where to write what --queries find: .jsonl.")


def main(argv: Sequence[str]) -> None:
    """Retrieves for the config's questions, or for those of --queries."""
    if bool(_QUERIES.value) != bool(_OUT.value):
        raise cli.app.UsageError("--queries=FILE and --out=FILE.jsonl go together.")
    if not _QUERIES.value:
        cli.stage_main(retrieve.run)(argv)
        return
    cli.refuse_arguments(argv)
    config, workdir = cli.prepare("encoder", "retrieve")
    written = retrieve_queries.run(config, workdir, _QUERIES.value, _OUT.value)
    logging.info("Wrote %s and %s.", _OUT.value, written)


if __name__ == "__main__":
    cli.run_main(main)
