"""Checkpoints of a run: written whole or not at all, checked when read (Orbax)."""

import contextlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from radit_jax.training import layout


class SaveError(RuntimeError):
    """A checkpoint could not be written; the earlier ones are as they were."""


class RestoreError(RuntimeError):
    """There are checkpoints, and none of them can be used."""


class Checkpointer:
    """The newest checkpoints of one tree of arrays, with a JSON dict beside each.

    `save` returns once the arrays are copied to the host; a thread writes them while
    the run goes on. Orbax writes into a temporary folder and renames it, so a killed
    run leaves no half checkpoint. It does not notice flipped bits in what it reads
    back; the checksums that are kept in the JSON do. Older checkpoints are deleted
    here and not by Orbax: when the next call finds the newer one whole.
    """

    def __init__(self, path: epath.PathLike, keep: int = 2):
        """Opens or makes the folder.

        Args:
          path: of the folder; shared by all processes.
          keep: newest checkpoints that stay, besides one that is being written.
        """
        self.path = epath.Path(path).expanduser().resolve()
        self._keep = keep
        self._writing: tuple[int, int] | None = None  # step, bytes
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self.path,
            item_names=("state", "data"),
            options=ocp.CheckpointManagerOptions(
                enable_async_checkpointing=True,
                cleanup_tmp_directories=True,
            ),
        )

    def latest_step(self) -> int | None:
        """The newest step that is wholly written, good or not.

        Raises:
          SaveError: the last save failed.
        """
        self.wait()
        return self._manager.latest_step()

    def save(self, step: int, state: Any, data_state: dict[str, Any]) -> None:
        """Starts to write a checkpoint; waits for the one before it.

        A checkpoint of the same step or of later ones is replaced: the run went back
        and its old future is void.

        Args:
          step: updates done.
          state: tree of arrays; the caller may donate them right afterwards.
          data_state: what JSON can hold, such as the data iterator's position.

        Raises:
          SaveError: if it, or the one before it, cannot be written.
        """
        self.wait()
        arrays = layout.named_leaves(state)
        data = {"leaves": layout.describe(arrays), "data_state": data_state}
        data["crc32"] = _crc32(data)
        num_bytes = sum(array.size * array.dtype.itemsize for array in arrays.values())
        self._writing = (step, num_bytes)
        with self._failures_told():
            for old in self._manager.all_steps():
                if old >= step:
                    self._manager.delete(old)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays), data=ocp.args.JsonSave(data)
                ),
                force=True,
            )

    def check(self) -> None:
        """Looks, without waiting, whether the last save has failed.

        Raises:
          SaveError: it has.
        """
        if self._writing is not None:
            with self._failures_told():
                self._manager.check_for_errors()
                if not self._manager.is_saving_in_progress():
                    # Its own thread may have been told of the failure instead.
                    self._manager.wait_until_finished()

    def wait(self) -> None:
        """Waits until the last save is whole, and deletes what is too old.

        Raises:
          SaveError: it failed.
        """
        if self._writing is None:
            return
        with self._failures_told():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
            for old in sorted(self._manager.all_steps())[: -self._keep]:
                self._manager.delete(old)
        self._writing = None

    @contextlib.contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        # TensorStore reports a full disk as ValueError or RuntimeError.
        except Exception as error:
            (step, num_bytes), self._writing = self._writing, None
            raise self._save_error(step, num_bytes, error) from error

    def _save_error(self, step: int, num_bytes: int, error: Exception) -> SaveError:
        try:
            self._manager = self._open()  # frees the half-written folder's space
        except OSError as second:
            logging.warning("%s could not be cleaned: %s", self.path, second)
        last = self._manager.latest_step()
        kept = "none was saved before" if last is None else f"the last is step {last}"
        return SaveError(
            f"the checkpoint of step {step} ({num_bytes / 1e6:.4g} MB) could not be "
            f"written to {self.path}: {_first_words(error)}. Earlier checkpoints are "
            f"as they were ({kept}). Free space or permit writing there, and start the "
            "same command again: it goes on from the last checkpoint."
        )

    def restore_latest(self, abstract_state: Any) -> tuple[Any, dict[str, Any]] | None:
        """Reads the newest checkpoint that is good.

        Unreadable or altered ones are skipped with a warning and, once a good one is
        found, moved aside to `unreadable_<step>`.

        Args:
          abstract_state: tree with `shape`, `dtype` and `sharding` at its leaves; the
            arrays are placed so, however they were placed when they were saved.

        Returns:
          The state and `data_state`, or None where nothing was ever saved.

        Raises:
          RestoreError: if the newest good checkpoint is of another model or
            optimizer, with every difference; or if none is good.
          SaveError: the last save failed.
        """
        self.wait()
        steps = sorted(self._manager.all_steps(), reverse=True)
        failures: dict[int, str] = {}
        for step in steps:
            try:
                found = self._restore(step, abstract_state)
            except RestoreError:
                raise
            except Exception as error:
                found, failures[step] = None, _first_words(error)
            if _on_all_processes(found is not None):
                self._set_aside(list(failures))
                logging.info("restored step %d from %s", step, self.path)
                return found
            failures.setdefault(step, "another process failed")
            where, why = self.path / str(step), failures[step]
            logging.warning("%s cannot be read, trying an older: %s", where, why)
        if steps:
            raise RestoreError(
                f"none of the checkpoints {steps} in {self.path} can be read: "
                f"{failures}. Bring the folder back from a backup, or remove it to "
                "start this run from the beginning."
            )
        return None

    def _restore(self, step: int, abstract_state: Any) -> tuple[Any, dict[str, Any]]:
        args = ocp.args.Composite(data=ocp.args.JsonRestore())
        data = self._manager.restore(step, args=args)["data"]
        if data.pop("crc32") != _crc32(data):
            raise ValueError("the checksum of its JSON is not the one saved")
        wanted = layout.named_leaves(abstract_state)
        differences = layout.differences(data["leaves"], wanted)
        if differences:
            raise RestoreError(
                f"the checkpoint {self.path / str(step)} is of another model or "
                f"optimizer; {len(differences)} difference(s):\n  "
                + "\n  ".join(differences)
                + "\nRun with the config that it was saved with, or in another folder."
            )
        structs = {
            name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
            for name, x in wanted.items()
        }
        args = ocp.args.Composite(state=ocp.args.StandardRestore(structs))
        arrays = self._manager.restore(step, args=args)["state"]
        found = layout.describe(arrays)
        altered = [name for name in wanted if found[name] != data["leaves"][name]]
        if altered:
            raise ValueError(f"the checksums of {altered} are not those saved")
        structure = jax.tree.structure(abstract_state)
        leaves = [arrays[name] for name in wanted]
        return jax.tree.unflatten(structure, leaves), data["data_state"]

    def _set_aside(self, steps: list[int]) -> None:
        # Not deleted: the trouble may lie in the file system. Moved all the same,
        # because the run is about to write these steps again.
        if not steps:
            return
        if jax.process_index() == 0:
            for step in steps:
                aside = self.path / f"unreadable_{step}"
                if aside.exists():
                    aside.rmtree()
                (self.path / str(step)).rename(aside)
        _on_all_processes(True)
        self._manager.reload()

    def close(self) -> None:
        """Ends a save that is under way, and frees the manager's threads.

        A failure is only logged, lest it hide the error that ended the run; `wait`
        raises it.
        """
        try:
            self.wait()
        except SaveError as error:
            logging.error("%s", error)
        self._manager.close()


def _first_words(error: Exception) -> str:
    # TensorStore goes on with its whole configuration.
    return f"{type(error).__name__}: {error}".split(" [tensorstore_spec")[0][:500]


def _crc32(data: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())


def _on_all_processes(ok: bool) -> bool:
    """Whether it is so everywhere; also a barrier."""
    if jax.process_count() == 1:
        return ok
    return bool(np.all(multihost_utils.process_allgather(np.asarray(ok))))
