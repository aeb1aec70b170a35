"""What every launcher shares: flags, logging, multi-host set-up, readable errors."""

import dataclasses
import difflib
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence

import jax
from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from launch import steps
from radit_jax import progress
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.manifests import ArtifactError
from radit_jax.progress import duration, size
from radit_jax.training import preemption
from radit_jax.workdir import Workdir

CONFIG_FILE = "config.json"  # in the workdir
PROFILE_STEPS = 3  # of a training

CONFIG = config_flags.DEFINE_config_file(
    "config",
    lock_config=True,
    help_string="A file of configs/, e.g. configs/quickstart.py or …:smoke.",
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run's artifacts.")
OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace artifacts of another config in the workdir."
)
TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where an error was raised.")
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other hosts of a pod with jax.distributed."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0; TPU pods and Slurm tell it."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Likewise.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Likewise; from 0.")


def run_stage(run: Callable[[Config, Workdir, bool], object]) -> None:
    """Makes a stage's `run` the program: parse, validate, log, run."""
    run_main(stage_main(run))


def run_training(run: Callable[..., object]) -> None:
    """`run_stage` of a stage that trains, with a flag for a trace of a few steps."""
    profile = flags.DEFINE_bool(
        "profile",
        False,
        f"Trace {PROFILE_STEPS} steps into the metrics' folder, for XProf and "
        "TensorBoard.",
    )

    def traced(config: Config, workdir: Workdir, overwrite: bool) -> object:
        steps = PROFILE_STEPS if profile.value else 0
        return run(config, workdir, overwrite, profile_steps=steps)

    run_stage(traced)


def stage_main(
    run: Callable[[Config, Workdir, bool], object],
) -> Callable[[Sequence[str]], None]:
    """What `run_stage` runs, for a launcher that has more to do than its stage."""

    def main(argv: Sequence[str]) -> None:
        refuse_arguments(argv)
        config, workdir = prepare()
        if not (workdir.path / CONFIG_FILE).exists():
            remember(config, workdir)
        made = run(config, workdir, OVERWRITE.value)
        remember(config, workdir)
        if isinstance(made, Artifact):
            logging.info("%s", summary(made))
            step = steps.after(config, made.manifest["stage"])
            if step is not None:
                logging.info("Next: %s", command(step.stage, workdir.path, step.flags))

    return main


def prepare(*sections: str) -> tuple[Config, Workdir]:
    """The checked config, or these sections of it checked, and the workdir."""
    if not CONFIG.value or not WORKDIR.value:
        raise app.UsageError("give --config=configs/….py and --workdir=FOLDER.")
    if DISTRIBUTED.value:
        jax.distributed.initialize(
            _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
        )
    if jax.process_index() != 0:
        logging.set_verbosity(logging.WARNING)  # the main process tells the rest
    config, path = CONFIG.value, epath.Path(WORKDIR.value).expanduser()
    config.validate(*sections)
    config.settle(jax.default_backend())
    logging.info("%d device(s): %s", jax.device_count(), jax.devices()[0].device_kind)
    return config, Workdir(path)


def remember(config: Config, workdir: Workdir) -> None:
    """Writes the config beside the artifacts, for `launch.ask`."""
    if jax.process_index() == 0:
        workdir.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(config), indent=1)
        (workdir.path / CONFIG_FILE).write_text(text)


def remembered(workdir: Workdir) -> Config:
    """The config that the run was made with.

    Raises:
      ArtifactError: the folder is no run's, or another version's.
    """
    file = workdir.path / CONFIG_FILE
    if not file.exists():
        raise ArtifactError(
            f"{workdir.path} is no run's folder: it has no {CONFIG_FILE}. Run "
            f"`{command('run_pipeline', workdir.path)}` first."
        )
    try:
        return Config.from_dict(json.loads(file.read_text()))
    except (ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{file} is no config of this version: {error} Give --config=….py."
        ) from error


def command(
    name: str,
    workdir: epath.PathLike,
    more: Sequence[str] = (),
    words: Sequence[str] = (),
) -> str:
    """A launcher's command line with this program's --config, to be pasted.

    Args:
      name: of the launcher.
      workdir: of the run.
      more: flags; where one sets a field, this program's own value of it is left out.
      words: arguments that are no flags. Given, no --config is.
    """
    given = [] if words else _config_flags()
    fields = [flag.split("=")[0] for flag in more]
    kept = [flag for flag in given if flag.split("=")[0] not in fields]
    typed = ["python", "-m", f"launch.{name}", *kept, *more, f"--workdir={workdir}"]
    return shlex.join([*typed, *words]).replace("'--config=…'", "--config=…")


def _config_flags() -> list[str]:
    if not CONFIG.value:
        return ["--config=…"]
    flag = flags.FLAGS["config"]
    changed = config_flags.get_override_values(flag).items()
    return [
        f"--config={config_flags.get_config_filename(flag)}",
        *(f"--config.{name}={value}" for name, value in changed),
    ]


def summary(made: Artifact) -> str:
    """Of a finished stage: where its output is, how large, and how long it took."""
    num_bytes = sum(made.manifest.get("files", {}).values())
    return (
        f"{made.manifest['stage']}: {size(num_bytes)} in {made.path}, "
        f"{duration(made.manifest['seconds'])} of work."
    )


def refuse_arguments(argv: Sequence[str]) -> None:
    """Raises on words that are no flags: a mistyped flag would be ignored."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument(s) {argv[1:]}; flags start with --.")


def run_main(main: Callable[[Sequence[str]], None]) -> None:
    """`app.run`, with the user's mistakes told in a line rather than a traceback."""

    def quiet_main(argv: Sequence[str]) -> None:
        try:
            main(argv)
        except KeyboardInterrupt:
            fail("interrupted; run the same command again: it resumes.")
        except app.UsageError:
            raise
        except preemption.PreemptedError as stop:
            print(stop, file=sys.stderr)
            sys.exit(preemption.EXIT_STATUS)
        except (ValueError, OSError, RuntimeError) as error:
            if TRACEBACK.value:
                raise
            fail(f"{error}\n(--traceback shows where this was raised.)")

    _set_up_logging()
    try:
        app.run(quiet_main)
    except KeyError:
        # config_flags' own message names neither the flag nor the fields there are.
        message = _unknown_field()
        if not message:
            raise
        fail(message)


def _set_up_logging() -> None:
    """Plain lines of what this package does, and of what others warn of."""
    logging.set_verbosity(logging.INFO)
    logging.use_absl_handler()
    handler = logging.get_absl_handler()
    handler.setFormatter(None)
    # Orbax reports every step of every save through the same logger.
    handler.addFilter(
        lambda record: (
            record.levelno >= logging.converter.STANDARD_WARNING
            or "radit_jax" in record.pathname
            or "launch" in record.pathname
        )
    )
    handler.addFilter(lambda record: progress.clear_line() is None)


def fail(message: str) -> None:
    """Prints an error and ends the program with status 1."""
    progress.clear_line()
    print(f"error: {message}", file=sys.stderr, flush=True)
    if jax.distributed.is_initialized():
        # An orderly end would wait for processes that may be gone.
        sys.stdout.flush()
        os._exit(1)
    sys.exit(1)


def _unknown_field() -> str:
    """What to say of a `--config.…` flag that names no field; "" if all do."""
    names = [
        f"--config.{section.name}.{field.name}"
        for section in dataclasses.fields(Config)
        for field in dataclasses.fields(section.default_factory)
    ]
    given = [a.split("=")[0] for a in sys.argv if a.startswith("--config.")]
    unknown = [name for name in given if name not in names]
    if not unknown:
        return ""
    close = difflib.get_close_matches(unknown[0], names, n=3, cutoff=0.4)
    return (
        f"{unknown[0]} is not a field of the config; the nearest are "
        f"{', '.join(close) or ', '.join(names)}. radit_jax/config.py lists all."
    )
