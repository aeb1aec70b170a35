"""docs/configuration.md is what `launch.config_reference` prints."""

import dataclasses
from pathlib import Path

import radit_jax
from launch import config_reference
from radit_jax.config import Config, IndexConfig

PAGE = Path(radit_jax.__file__).parents[1] / "docs" / "configuration.md"


def test_the_page_is_in_step():
    assert PAGE.read_text() == config_reference.render(), (
        "run `python -m launch.config_reference > docs/configuration.md`"
    )


def test_every_field_says_what_it_is():
    for section in dataclasses.fields(Config):
        kind = section.default_factory
        found = list(config_reference.fields(kind))
        assert [f.name for f in found] == [f.name for f in dataclasses.fields(kind)]
        assert [f"{section.name}.{f.name}" for f in found if not f.comment] == []


def test_a_comment_stands_over_its_field_or_behind_it():
    found = {f.name: f for f in config_reference.fields(IndexConfig)}
    assert found["rows_dtype"].comment.startswith("Of rows in memory")
    assert found["target_recall"].comment.startswith("against exact search")
    assert found["target_recall"].default == "0.95"
