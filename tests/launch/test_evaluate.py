"""`launch.evaluate`: stage 10, or with --table the paper's tables."""

import pytest
from absl import flags
from absl.testing import flagsaver

from launch import cli, evaluate
from radit_jax.config import ConfigError


def test_with_a_table_it_makes_the_papers(monkeypatch):
    flags.FLAGS.mark_as_parsed()
    ran = []
    monkeypatch.setattr(cli, "stage_main", lambda run: lambda argv: ran.append(run))
    with flagsaver.flagsaver(table="9"), pytest.raises(ConfigError, match="--table=9"):
        evaluate.main([])
    assert not ran
    evaluate.main([])
    assert ran == [evaluate.evaluate.run]
