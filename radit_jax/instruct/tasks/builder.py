"""Fine-tuning sets as tensorflow-datasets builds and reads them, without TensorFlow.

Only this file knows of tensorflow-datasets. Its builders and ours write ArrayRecord
files into a folder beside the final one, which is renamed when it is whole.
"""

import contextlib
import importlib
import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from radit_jax.instruct.tasks.files import PublisherFiles
from radit_jax.instruct.tasks.task import Published, Record, SourceError, Task

_SCALARS = {int: np.int64, float: np.float64, bool: np.bool_}
_READ_TOGETHER = 256  # records


def folder(task: Task, tasks_dir: epath.Path) -> epath.Path:
    """Where the prepared set is, or will be."""
    return epath.Path(_open(task, tasks_dir).data_path)


def homepage(task: Task, tasks_dir: epath.Path) -> str:
    """Where the set's publisher offers its files."""
    return _open(task, tasks_dir).info.homepage


def prepare(task: Task, tasks_dir: epath.Path, files: PublisherFiles) -> None:
    """Builds a set's records from its publisher's files.

    Raises:
      SourceError: a file is missing or can't be read; nothing is kept.
    """
    builder = _open(task, tasks_dir)
    # Whatever a builder downloads passes through the object that this call is given.
    split_generators = builder._split_generators
    builder._split_generators = lambda dl_manager: split_generators(
        _LocalFirst(dl_manager, files, builder.url_infos or {})
    )
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with _quiet():
            builder.download_and_prepare(
                download_dir=files.downloads, download_config=config
            )
    except (SourceError, OSError):
        raise
    except Exception as error:  # of a builder that is not ours
        raise SourceError(
            f"tensorflow-datasets can't build {task.name} from its files: {error!r}. "
            f"Compare those in {files.places} with what {builder.info.homepage} offers."
        ) from error


def records(task: Task, split: str, tasks_dir: epath.Path) -> Iterator[Record]:
    """A split's records, in plain Python, in their one order."""
    builder = _open(task, tasks_dir)
    with _quiet():
        rows = builder.as_data_source(split=split)
    fields = task.source.fields if isinstance(task.source, Published) else {}
    for begin in range(0, len(rows), _READ_TOGETHER):
        places = range(begin, min(begin + _READ_TOGETHER, len(rows)))
        for row in rows.__getitems__(places):
            yield _unpack(_plain(row), fields)


def _open(task: Task, tasks_dir: epath.Path) -> tfds.core.DatasetBuilder:
    source, place = task.source, {"data_dir": tasks_dir, "file_format": "array_record"}
    with _quiet():
        if isinstance(source, Published):
            return _PublishedBuilder(task, **place)
        if source.module:
            importlib.import_module(source.module)
        name, _, config = source.builder.partition("/")
        return tfds.builder_cls(name)(config=config or None, **place)


class _PublishedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set that tensorflow-datasets lacks, or can't build without TensorFlow."""

    def __init__(self, task: Task, **kwargs):
        # A prefix of our own: tensorflow-datasets may have a set of this name.
        self.name = f"radit_{task.name}"
        self.VERSION = tfds.core.Version(task.source.version)
        self._task = task
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=_features(self._task.source.fields),
            homepage=self._task.source.homepage,
            license=self._task.licence,
            disable_shuffling=True,  # the publisher's order
        )

    def _split_generators(self, dl_manager: "_LocalFirst") -> dict[str, Iterator]:
        source = self._task.source
        names = dict.fromkeys(name for split in source.files.values() for name in split)
        paths = dl_manager.fetch({name: source.urls.get(name, "") for name in names})
        return {
            split: self._generate_examples(split, [paths[name] for name in names])
            for split, names in source.files.items()
        }

    def _generate_examples(self, split: str, paths: Sequence[epath.Path]) -> Iterator:
        name, source, number = self._task.name, self._task.source, 0
        try:
            for record in source.read(paths):
                if record.get(source.split_field, split) != split:
                    continue
                yield number, _pack(record, source.fields)
                number += 1
            if not number:
                raise ValueError("there are none")
        except Exception as error:  # whatever a reader meets in a damaged file
            fault = str(error) if isinstance(error, SourceError) else repr(error)
            raise SourceError(
                f"{name}, {split}: {', '.join(map(str, paths))} can't be read beyond "
                f"record {number}: {fault}. Compare with what {source.homepage} "
                "offers, and bring those files."
            ) from error


class _LocalFirst:
    """A tensorflow-datasets download manager that takes files at hand first."""

    def __init__(
        self, dl_manager: Any, files: PublisherFiles, url_infos: Mapping[str, Any]
    ):
        """Args: url_infos: what tensorflow-datasets knows of its addresses."""
        self._manager = dl_manager
        self._files = files
        self._url_infos = url_infos

    def fetch(self, urls: Mapping[str, str]) -> dict[str, epath.Path]:
        """The files of these names; those not at hand are downloaded."""
        return self._files.fetch(urls, self._manager.download)

    def download(self, urls: Any) -> Any:
        """As the manager's: the structure of URLs with paths in their place."""
        names = {url: self._name(url) for url in jax.tree.leaves(urls)}
        paths = self.fetch({name: url for url, name in names.items()})
        return jax.tree.map(lambda url: paths[names[url]], urls)

    def download_and_extract(self, urls: Any) -> Any:
        """As the manager's."""
        return self._manager.extract(self.download(urls))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def _name(self, url: str) -> str:
        info = self._url_infos.get(url)
        return (info and info.filename) or url.rstrip("/").rsplit("/", 1)[-1]


def _is_json(form: Any) -> bool:
    """Whether a field is kept as JSON: a list of anything but scalars.

    tensorflow-datasets needs TensorFlow to write lists within lists.
    """
    return isinstance(form, list) and isinstance(form[0], list | Mapping)


def _features(form: Any) -> Any:
    """The features of a record's form."""
    if isinstance(form, Mapping):
        inner = {name: _features(value) for name, value in form.items()}
        return tfds.features.FeaturesDict(inner)
    if isinstance(form, list) and not _is_json(form):
        return tfds.features.Sequence(_features(form[0]))
    if form is str or _is_json(form):
        return tfds.features.Text()
    return tfds.features.Scalar(_SCALARS[form])


def _pack(value: Any, form: Any) -> Any:
    if isinstance(form, Mapping):
        return {name: _pack(value[name], inner) for name, inner in form.items()}
    return json.dumps(value, ensure_ascii=False) if _is_json(form) else value


def _unpack(value: Any, form: Any) -> Any:
    if isinstance(form, Mapping) and form:
        return {name: _unpack(value[name], inner) for name, inner in form.items()}
    return json.loads(value) if _is_json(form) else value


def _plain(value: Any) -> Any:
    """Strings, numbers, lists and dicts from what tensorflow-datasets gives."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps tensorflow-datasets from printing, and from a warning of its own."""
    tfds.disable_progress_bar()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # Its use of protobuf, fixed by no release up to 4.9.10.
        warnings.filterwarnings("ignore", r"label\(\) is deprecated")
        yield
