"""Snakemake that asks Slurm every two seconds for as long as it runs: `python promptly.py ARGUMENTS`.

The Slurm plugin (2.8.0) adds ten seconds to its interval each time that no job has ended, up to three minutes, and has
no setting for it. That suits jobs of hours; of a job of ten seconds it would hear after thirty.
"""

import asyncio

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

POLL_S = 2.0


async def sleep(self: RemoteExecutor) -> None:
    """Between two questions."""
    await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    RemoteExecutor.sleep = sleep
    main()
