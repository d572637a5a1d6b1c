"""Which numbers each method's row has, without importing torch; tests/paper holds this against amd.distill.methods."""

_MATCHING = {"low", "high", "normaliser", "ratio", "samples", "eta", "steps", "first", "shift"}
_ADAPTIVE = _MATCHING | {"s", "clip"}

TAKES: dict[str, frozenset[str]] = {
    name: frozenset(numbers)
    for name, numbers in {
        "dmd-pure": _MATCHING,
        "dmd": _MATCHING | {"lam"},
        "dmd2": _MATCHING | {"lam", "critic_lam", "dims"},
        "d-dmd": _MATCHING,
        "magic": _MATCHING | {"pull", "anneal"},
        "dmdr": _MATCHING - {"low", "high"} | {"lam", "dims", "pull", "anneal"},
        "naive": _ADAPTIVE,
        "amd": _ADAPTIVE | {"k", "normalise"},
        "amd-literal": _ADAPTIVE | {"k", "normalise"},
        "amd-without-adaptation": _ADAPTIVE - {"s"} | {"k", "normalise"},
        "amd-without-sharpening": _ADAPTIVE,
    }.items()
}

GROUPED = frozenset({"naive", "amd", "amd-literal", "amd-without-adaptation", "amd-without-sharpening"})
"""Methods that read a group advantage: K = 1 makes no sense for them."""

REWARDED = GROUPED | {"dmdr"}
"""Methods that need a reward."""

SHRINKING = frozenset({"magic", "dmdr"})
"""Methods whose real teacher borrows the fake's low-rank branch: the fake must be a LoRA unless their pull is 0."""

TETHERED = frozenset({"dmd"})
"""Methods that regress on pairs of the teacher's ODE, which are made in the class track alone."""

DATA_READERS = frozenset({"dmd2"})
"""Methods whose critic looks at real images."""

TEXT_REWARDS = ("hpsv2", "pickscore", "imagereward", "clip-score")
"""Published scorers of an image and its prompt that anyone can train against; the others are trained here on scenes."""
