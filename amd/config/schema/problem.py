"""A problem of the plane."""

from typing import Literal

from amd.config.schema.closed import Closed, Positive, Rate, Share


class Problem(Closed):
    """A 2-D mixture, what it is conditioned on, and what the reward likes (Figures 7 and 8)."""

    name: str = ""
    title: str
    about: str = ""
    mixture: Literal["ring8", "grid9"]
    radius: Rate  # of the ring, or spacing of the grid
    mode_std: Rate
    reward: Literal["selective", "global", "lower-left"]
    good: list[int] = []  # modes the selective reward likes
    condition: Literal["one", "split2"]  # one prompt, or two classes that each hold good and bad modes
    teacher: Literal["exact", "mlp"] = "exact"
    group: Positive | None = None  # K; None: the whole batch is one group
    gamma_quantile: Share = 0.99  # of the teacher's energy over its own samples: the Forbidden Zone's border, Eq. 5
    methods: dict[str, str]  # printed title -> plane system
