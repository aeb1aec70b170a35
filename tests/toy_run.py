"""A run on the toy world, finished or told as finished."""

import dataclasses
import shutil

from etils import epath

from radit_jax.config import Config
from radit_jax.workdir import Workdir


@dataclasses.dataclass
class ToyRun:
    config: Config
    workdir: Workdir
    world: epath.Path

    def copy(self, folder) -> Workdir:
        """The workdir again, to break and mend."""
        shutil.copytree(self.workdir.path, folder)
        return Workdir(epath.Path(folder))
