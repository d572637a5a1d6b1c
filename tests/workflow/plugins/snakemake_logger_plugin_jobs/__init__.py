"""`snakemake --logger jobs`: every job of a run as a line of JSON in the file $AMD_TEST_JOBS, for tests to read."""

import json
import os
from logging import LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent


class LogHandler(LogHandlerBase):
    """Writes what Snakemake says of each job, and nothing else."""

    writes_to_stream = False  # type: ignore[assignment]
    writes_to_file = False  # type: ignore[assignment]
    has_filter = True  # type: ignore[assignment]
    has_formatter = True  # type: ignore[assignment]
    needs_rulegraph = False  # type: ignore[assignment]

    def emit(self, record: LogRecord) -> None:
        """One event."""
        if getattr(record, "event", None) != LogEvent.JOB_INFO:
            return
        said = record.__dict__
        job = {
            "rule": said["rule_name"],
            "wildcards": {key: str(value) for key, value in (said["wildcards"] or {}).items()},
            "resources": {key: value for key, value in said["resources"].items() if isinstance(value, int | str)},
            "output": [str(file) for file in said["output"]],
            "input": [str(file) for file in said["input"]],
            "log": [str(file) for file in said["log"]],
            "threads": said["threads"],
            "reason": said["reason"],
        }
        with Path(os.environ["AMD_TEST_JOBS"]).open("a") as file:
            file.write(json.dumps(job) + "\n")
