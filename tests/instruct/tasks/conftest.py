"""No fine-tuning set may need TensorFlow: it is not to be found, even where it is."""

import sys

import pytest


class _WithoutTensorFlow:
    def __init__(self, finders):
        self._finders = finders

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            return None
        specs = (finder.find_spec(name, path, target) for finder in self._finders)
        return next((spec for spec in specs if spec is not None), None)


@pytest.fixture(autouse=True)
def _no_tensorflow(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [_WithoutTensorFlow(sys.meta_path)])
