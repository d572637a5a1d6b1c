"""What a run's teacher, and a critic, are shown: real pictures or clips with captions, as many as the scale says."""

from typing import TYPE_CHECKING

from amd.config.load import Run
from amd.config.schema.sizes import TextSizes

if TYPE_CHECKING:
    from amd.data.captioned import Captioned


def shown_by(run: Run) -> "Captioned":
    """The captioned data of the run's domain. ValueError where it has none, MissingAsset where a file is nowhere."""
    from amd.data.captioned import captioned  # the class track has no captions

    data, sizes = run.domain.data, run.prompted
    if data is None:
        raise ValueError(f"domains/{run.domain.name}.yaml: data: missing; real pictures or clips are asked for")
    count = sizes.images if isinstance(sizes, TextSizes) else sizes.clips
    return captioned(data.source, data.assets, run.mirror, run.domain.pixels, count, clip=run.domain.clip)
