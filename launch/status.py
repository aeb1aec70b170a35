"""Shows how far a run is: each step's state, size and time, and what comes next.

    python -m launch.status --workdir=runs/q [--config=configs/quickstart.py] [--json]

Without --config, the one that the run was begun with counts. A step is `done`;
`running`, by which process; `stale`: its config or an input changed, so that
`launch.run_pipeline --overwrite` would take it again; `damaged`: files of it are gone;
`failed`, and why; or `not begun`. What says that a step is done is what makes
`launch.run_pipeline` skip it. Nothing is written, and no device is touched.
"""

import dataclasses
import json
from collections.abc import Sequence

from absl import app, flags
from etils import epath

from launch import cli, steps
from launch.run_pipeline import STAGES
from radit_jax import manifests, states
from radit_jax.config import Config
from radit_jax.progress import duration, size
from radit_jax.states import State
from radit_jax.workdir import Workdir

_JSON = flags.DEFINE_bool("json", False, "Print JSON rather than a table.")


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A step and the state of its artifact."""

    step: steps.Step
    folder: epath.Path
    state: State


def main(argv: Sequence[str]) -> None:
    """Prints the states."""
    cli.refuse_arguments(argv)
    if not cli.WORKDIR.value:
        raise app.UsageError("give --workdir=FOLDER of a run.")
    workdir = Workdir(epath.Path(cli.WORKDIR.value).expanduser())
    if not workdir.path.exists():
        raise manifests.ArtifactError(
            f"{workdir.path} does not exist; check --workdir, or begin a run there: "
            f"{cli.command('run_pipeline', workdir.path)}"
        )
    lines = survey(_config(workdir), workdir)
    show = _as_json if _JSON.value else _as_table
    print(show(lines, workdir))


def _config(workdir: Workdir) -> Config:
    """The flag's or the run's; "auto" stands for what it stood for in the run.

    No device is asked: a run that goes on holds them.
    """
    config = cli.CONFIG.value
    if config is None:
        return cli.remembered(workdir)
    is_begun = (workdir.path / cli.CONFIG_FILE).exists()
    for name in ("lm", "encoder"):
        section = getattr(config, name)
        if section.compute_dtype == "auto" and is_begun:
            of_run = getattr(cli.remembered(workdir), name)
            section.compute_dtype = of_run.compute_dtype
    return config


def survey(config: Config, workdir: Workdir) -> list[Line]:
    """The state of each step; stale too where a step before will be taken again."""
    lines, again = [], {}  # manifest's hash → label of the step that will replace it
    for step in steps.of(config):
        line, inputs = _look(step, step.config(config), workdir)
        replaced = [again[sha256] for sha256 in inputs if sha256 in again]
        if line.state.name == states.DONE and replaced:
            reason = f"reads {', '.join(dict.fromkeys(replaced))}, to be made again"
            stale = dataclasses.replace(line.state, name=states.STALE, reason=reason)
            line = dataclasses.replace(line, state=stale)
        if line.state.name != states.DONE and line.state.sha256:
            again[line.state.sha256] = step.label
        lines.append(line)
    return lines


def _look(step: steps.Step, config: Config, workdir: Workdir) -> tuple[Line, list[str]]:
    """The step's line, and the hashes of its inputs where they are known."""
    stage = STAGES[step.stage]
    folder = stage.output(config, workdir)
    try:
        sections, inputs = stage.identity(config, workdir)
    except (ValueError, OSError) as error:  # an input is missing, or unreadable
        return Line(step, folder, states.of(folder, None, str(error))), []
    wanted = manifests.identity(step.stage, sections, inputs)
    return Line(step, folder, states.of(folder, wanted)), list(inputs.values())


def next_command(lines: list[Line], workdir: Workdir) -> str:
    """What to type now, or whom to wait for."""
    running = [line for line in lines if line.state.name == states.RUNNING]
    todo = [line for line in lines if line.state.name != states.DONE]
    if running:
        return f"wait for {running[0].state.reason}"
    if not todo:
        return cli.command("ask", workdir.path, words=["Who …?"])
    step = todo[0].step
    return cli.command(step.stage, workdir.path, step.flags + _overwrite(todo[:1]))


def _overwrite(lines: list[Line]) -> list[str]:
    """The flag that lets a run replace what is there, where these steps need it."""
    names = {line.state.name for line in lines}
    return ["--overwrite"] if names & {states.STALE, states.DAMAGED} else []


def _as_table(lines: list[Line], workdir: Workdir) -> str:
    width = max(len(line.step.label) for line in lines)
    rows = []
    for line in lines:
        state = line.state
        time = "" if state.seconds is None else duration(state.seconds)
        amount = size(state.num_bytes) if state.num_bytes else ""
        rows.append(
            f"{line.step.label:{width}}  {state.name:9}  {amount:>9}  {time:>12}  "
            f"{line.folder}"
        )
        if state.reason:
            rows.append(f"{'':{width}}  {state.reason}")
    num_done = sum(line.state.name == states.DONE for line in lines)
    command = next_command(lines, workdir)
    rows += ["", f"{num_done} of {len(lines)} steps are done. Next: {command}"]
    if num_done < len(lines):
        rest = cli.command("run_pipeline", workdir.path, _overwrite(lines))
        rows.append(f"All that is left: {rest}")
    return "\n".join(rows)


def _as_json(lines: list[Line], workdir: Workdir) -> str:
    steps_found = [
        {
            "step": line.step.label,
            "folder": str(line.folder),
            "state": line.state.name,
            "reason": line.state.reason,
            "bytes": line.state.num_bytes,
            "seconds": line.state.seconds,
        }
        for line in lines
    ]
    command = next_command(lines, workdir)
    return json.dumps({"steps": steps_found, "next": command}, indent=1)


if __name__ == "__main__":
    cli.run_main(main)
