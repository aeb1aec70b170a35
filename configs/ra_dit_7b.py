"""RA-DIT 7B as the paper trained it: LLaMA 7B and DRAGON+ (paper §2 to §5).

    export RADIT_DATA=…             # a folder with what configs/ra_dit.py lists
    python -m launch.prepare_tasks --tasks_dir=$RADIT_DATA/tasks
    python -m launch.run_pipeline --config=configs/ra_dit_7b.py --workdir=…

`:smoke` runs every stage on little data, in a few steps.

Hardware: the paper had 8 A100s for the LM and 16 for the retriever. Here the LM's
tuning fits v5e:4x8 (8.8 of 16 GB a chip), by `launch.plan_tpu`, which compiles for
slices that are not there; elsewhere set --config.lm_training.fsdp and
--config.lm.tensor to what divides the devices. Untried at this size; every stage of
it has run on the paper's sets in small.
"""

from configs import ra_dit
from radit_jax.config import Config


def get_config(variant: str = "") -> Config:
    """The config, with every hyper-parameter of the paper's that differs by model."""
    return ra_dit.make("llama-7b", batch_rows=64, fsdp=32, tensor=4, variant=variant)
