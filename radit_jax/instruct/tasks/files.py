"""A publisher's files: brought by hand, downloaded before, or downloaded now."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping

from absl import logging
from etils import epath

from radit_jax.instruct.tasks.task import SourceError

Download = Callable[[dict[str, str]], dict[str, epath.PathLike]]  # name → URL, → file


class PublisherFiles:
    """The files of one fine-tuning set, by name."""

    def __init__(
        self,
        task: str,
        homepage: str,
        downloads: epath.Path,
        manual_dir: epath.Path | None,
    ):
        """Sets where to look.

        Args:
          task: the set's name.
          homepage: where its publisher offers the files.
          downloads: the folder that keeps what is downloaded.
          manual_dir: the folder whose folder `task` has files brought by hand.
        """
        self.downloads = downloads
        self._task = task
        self._homepage = homepage
        self._by_hand = manual_dir / task if manual_dir else None

    @property
    def places(self) -> str:
        """The folders where files are looked for."""
        return " and ".join(str(one) for one in (self._by_hand, self.downloads) if one)

    def fetch(
        self, urls: Mapping[str, str], download: Download
    ) -> dict[str, epath.Path]:
        """The files, each under its own name; a file at hand is not downloaded.

        Args:
          urls: file name → address; "": it can only be brought by hand.
          download: gets files from their addresses.

        Raises:
          SourceError: with all files that are neither at hand nor to be reached.
        """
        paths = {name: self._at_hand(name) for name in urls}
        missing = {name: url for name, url in urls.items() if paths[name] is None}
        faults = {
            name: fault for name, url in missing.items() if (fault := _fault(url))
        }
        if faults:
            fault = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
            raise self._missing(missing, fault)
        if missing:
            try:
                paths |= self._keep(download(missing))
            except Exception as error:  # of requests, urllib3 or tensorflow-datasets
                raise self._missing(missing, repr(error)) from error
        return paths

    def _at_hand(self, name: str) -> epath.Path | None:
        for folder in (self._by_hand, self.downloads):
            if folder and (folder / name).exists():
                logging.info("%s: taking %s.", self._task, folder / name)
                return folder / name
        return None

    def _keep(self, downloaded: Mapping[str, epath.PathLike]) -> dict[str, epath.Path]:
        """Renames downloads to the publisher's names, which readers go by."""
        return {
            name: epath.Path(path).rename(self.downloads / name)
            for name, path in downloaded.items()
        }

    def _missing(self, urls: Mapping[str, str], fault: str) -> SourceError:
        wanted = ", ".join(
            f"{name} ({url})" if url else name for name, url in urls.items()
        )
        place = self._by_hand or f"{{FOLDER}}/{self._task}"
        remedy = "" if self._by_hand else ", with --manual_dir={FOLDER}"
        return SourceError(
            f"{self._task} needs {wanted}, which could not be had: {fault}. Get the "
            f"files from {self._homepage} and put them under these names into "
            f"{place}{remedy}, then run the same command again."
        )


def _fault(url: str) -> str:
    """Why an address can't be reached, found in no time; "" if it may be.

    tensorflow-datasets tries for three minutes before it says so.
    """
    if not url:
        return "its publisher has no address to download it from"
    host = urllib.parse.urlparse(url).hostname
    if urllib.request.getproxies() or not host:
        return ""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        return f"{host} can't be reached ({error})"
    return ""
