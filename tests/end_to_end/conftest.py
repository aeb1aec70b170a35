"""One run of the whole pipeline on the toy world, shared by the tests here."""

import dataclasses
import shutil

import pytest
from etils import epath

from configs import toy as toy_config
from launch import run_pipeline
from radit_jax.config import Config
from radit_jax.testing import toy
from radit_jax.workdir import Workdir


@dataclasses.dataclass
class ToyRun:
    config: Config
    workdir: Workdir
    world: epath.Path

    def copy(self, folder) -> Workdir:
        """The finished workdir again, to break and mend."""
        shutil.copytree(self.workdir.path, folder)
        return Workdir(epath.Path(folder))


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory):
    folder = epath.Path(tmp_path_factory.mktemp("toy"))
    world = toy.write(folder / "world")
    config = toy_config.get_config(str(world))
    config.validate()
    workdir = Workdir(folder / "run")
    run_pipeline.run(config, workdir)
    return ToyRun(config, workdir, world)
