"""One run of the whole pipeline on the toy world, shared by the tests here."""

import pytest
from etils import epath

from configs import toy as toy_config
from launch import run_pipeline
from radit_jax.testing import toy
from radit_jax.workdir import Workdir
from tests.toy_run import ToyRun


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory):
    folder = epath.Path(tmp_path_factory.mktemp("toy"))
    world = toy.write(folder / "world")
    config = toy_config.get_config(str(world))
    config.validate()
    workdir = Workdir(folder / "run")
    run_pipeline.run(config, workdir)
    return ToyRun(config, workdir, world)
