"""Whether there is room for what a stage will write, told before it begins."""

import shutil

from absl import logging
from etils import epath

from radit_jax import manifests
from radit_jax.progress import size


class RoomError(ValueError):
    """The disk can't hold what would be written: how much is lacking, and where."""


def check(
    folder: epath.PathLike, label: str, disk_bytes: float, memory_bytes: float = 0
) -> None:
    """Logs what a stage will take, and refuses it where the disk hasn't that much.

    Args:
      folder: of the artifact, made or not. An object store is taken to be large
        enough.
      label: of the stage.
      disk_bytes: about how large the folder will be at its largest; what a killed run
        left in it counts as written.
      memory_bytes: that the stage will hold at least, all devices together; 0: not
        known.

    Raises:
      RoomError: the disk is too small.
    """
    folder = epath.Path(folder)
    if "://" in str(folder):
        return
    needed = max(disk_bytes - sum(manifests.sizes(folder).values()), 0)
    disk = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(disk).free
    memory = f" and at least {size(memory_bytes)} of memory" if memory_bytes else ""
    logging.info(
        "%s will take about %s of disk (%s are free)%s.",
        label,
        size(needed),
        size(free),
        memory,
    )
    if needed > free:
        raise RoomError(
            f"{label} needs about {size(needed)} of disk, but {folder} has "
            f"{size(free)} free. Free {size(needed - free)} more, or name a --workdir "
            "on another disk; then give the same command again."
        )
