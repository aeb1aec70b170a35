"""What a study is made of, and what it says when that is not there."""

import subprocess
import sys

import pytest
from etils import epath

from configs import lsr_study
from configs import toy as toy_config
from radit_jax import artifacts
from radit_jax.evaluation import arms
from radit_jax.stages import study
from radit_jax.workdir import Workdir


def test_every_arm_is_another_run():
    config = toy_config.get_config("world")
    config.retriever_training.lm_temperature = 0.1  # an arm sets what it studies
    config.instructions.corpus_queries = 8
    config.retriever_training.corpus_weight = 0.2
    resolved = [
        str(arm.config(config).retriever_training.resolved(0.05)) for arm in arms.ARMS
    ]
    assert len(set(resolved)) == len(arms.ARMS)
    assert len({arm.name for arm in arms.ARMS}) == len(arms.ARMS)
    for arm in arms.ARMS:
        arm.config(config).validate("retriever_training")


def test_a_study_without_arms_is_refused(tmp_path):
    workdir = Workdir(epath.Path(tmp_path) / "run")
    with pytest.raises(artifacts.ArtifactError, match="holds no trained arm; run `pyt"):
        study.run(toy_config.get_config("world"), workdir)
    assert study.best_arm(workdir) is None


def test_the_real_datas_config_is_sound():
    config = lsr_study.get_config("wiki")
    assert config.corpus.documents == "wiki/psgs.tsv.gz"
    config.validate("retriever_training", "scoring", "retrieve", "predict")


def test_the_launcher_says_what_it_lacks():
    done = subprocess.run(
        [sys.executable, "-m", "launch.study", "--config=configs/toy.py:none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (
        "give --config=configs/….py and --workdir=FOLDER" in done.stderr + done.stdout
    )
