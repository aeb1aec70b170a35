"""Serves a finished run: a page to ask, a JSON API, and OpenAI's endpoints.

python -m launch.serve --workdir=runs/q
python -m launch.serve --workdir=runs/q --models=tuned,base --port=8080
"""

import os
import time
from collections.abc import Sequence

from absl import flags, logging
from etils import epath

from launch import ask, cli, served
from radit_jax.serving import server
from radit_jax.serving.answering import Service
from radit_jax.serving.app import make_app
from radit_jax.serving.metrics import Metrics
from radit_jax.serving.page import Page
from radit_jax.serving.reading import Limits
from radit_jax.serving.worker import Worker
from radit_jax.workdir import Workdir

_TOKEN_VARIABLE = "RADIT_TOKEN"

_MODELS = flags.DEFINE_list(
    "models",
    None,
    "Of tuned and base, those to hold in memory; left out: tuned, or else base.",
)
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen on; another than this needs a token."
)
_PORT = flags.DEFINE_integer("port", 8000, "Port to listen on; 0: any free one.", 0)
_TOKEN = flags.DEFINE_string(
    "token",
    None,
    "That requests must bring (Authorization: Bearer …); left out: the environment's "
    f"{_TOKEN_VARIABLE}, which other users of the machine can't see.",
)
_MAX_BATCH = flags.DEFINE_integer(
    "max_batch", 8, "Questions that are answered together.", 1
)
_MAX_WAITING = flags.DEFINE_integer(
    "max_waiting", 256, "Questions that may wait; more are told 429.", 1
)
_MAX_BODY_BYTES = flags.DEFINE_integer(
    "max_body_bytes", Limits().body_bytes, "Of a request; longer: 413.", 1
)
_MAX_QUESTION_CHARACTERS = flags.DEFINE_integer(
    "max_question_characters",
    Limits().question_characters,
    "Of a question; longer: 422.",
    1,
)
_GRACE_SECONDS = flags.DEFINE_float(
    "grace_seconds", 30.0, "For the questions in hand when the server is stopped.", 0.0
)
_WARM_UP = flags.DEFINE_bool(
    "warm_up", True, "Compile before the first question, not for it."
)


def main(argv: Sequence[str]) -> None:
    """Loads the models and serves until it is stopped."""
    cli.refuse_arguments(argv)
    if not cli.WORKDIR.value:
        raise cli.app.UsageError("give --workdir=FOLDER of a finished run.")
    token = _TOKEN.value or os.environ.get(_TOKEN_VARIABLE) or None
    server.check_host(_HOST.value, token)
    workdir = Workdir(epath.Path(cli.WORKDIR.value).expanduser())
    config = ask.read_config(workdir)
    names = served.choose(workdir, _models())
    served.check(config, workdir, names)
    with server.bind(_HOST.value, _PORT.value) as bound:
        systems, about = served.load(config, workdir, names, _MAX_BATCH.value)
        if _WARM_UP.value:
            begin = time.monotonic()
            for system in systems.values():
                served.warm_up(system, _MAX_BATCH.value)
            logging.info("Warm after %.0f s.", time.monotonic() - begin)
        metrics = Metrics()
        worker = Worker(systems, _MAX_BATCH.value, _MAX_WAITING.value, metrics)
        limits = Limits(_MAX_BODY_BYTES.value, _MAX_QUESTION_CHARACTERS.value)
        service = Service(worker, metrics, limits, token, int(time.time()))
        app = make_app(service, Page(service, about))
        logging.info("Serving %s at %s", ", ".join(systems), server.url(bound))
        server.Server(app, worker, _GRACE_SECONDS.value).serve_on(bound)
    logging.info("Stopped; everybody was answered or told.")


def _models() -> list[str]:
    names = _MODELS.value or []
    unknown = [name for name in names if name not in served.NAMES]
    if unknown:
        raise cli.app.UsageError(
            f"--models names {unknown}; there are {', '.join(served.NAMES)}."
        )
    return names


if __name__ == "__main__":
    cli.run_main(main)
