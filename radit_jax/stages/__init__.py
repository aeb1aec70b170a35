"""The ten stages of RA-DIT, in order: the only place where the layers meet.

Each has `run(config, workdir, overwrite=False) -> Artifact`.
"""
