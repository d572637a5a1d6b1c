"""The weights of a finished run, checked to be this very run's: the one door from a checkpoint's folder to tensors."""

from pathlib import Path

from torch import Tensor

from amd.config import plan
from amd.config.load import Run
from amd.config.published import ways_out
from amd.train.artifact import Refused, read_artifact, read_meta


def weights(run: Run, name: str | None = None) -> dict[str, Tensor]:
    """`{name}.safetensors` (by default what the run is for), on the CPU.

    FileNotFoundError where it is not made yet; Refused where it is altered, or was made from another configuration.
    """
    folder = Path(plan.folder(run))
    found = read_meta(folder).get("digest")
    if found != run.digest:
        raise Refused(
            f"{folder}: made with digest {found}, the configuration now means {run.digest}. {ways_out(folder)}"
        )
    return read_artifact(folder, name or run.system.kind)
