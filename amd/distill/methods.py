"""Table 1 as a literal: every method is a row of slots, and one step runs them all."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from amd.distill.advantage import group_relative, ones, sharpened
from amd.distill.cadence import two_time_scales
from amd.distill.force import ADVERSARIAL, REWARD, TETHER, Force
from amd.distill.operator import abs_mean, adaptive, decoupled, naive, standard
from amd.distill.renoise import annealed_beta, cleaner_ca, uniform
from amd.distill.rollout import backward_simulation
from amd.distill.slot import Slot
from amd.distill.teacher import frozen, shrinking


@dataclass(frozen=True)
class Method:
    """A row of Table 1, with the four columns that the table leaves out below the line."""

    operator: Slot = standard()  # H(d_real, d_fake)
    external: tuple[Force, ...] = ()  # F_ext
    renoise: Slot = uniform()  # F_t
    real: Slot = frozen()  # phi
    fake: Slot = ones()  # psi: the weight of its loss
    # --- not in Table 1 ---
    rollout: Slot = backward_simulation()  # where x comes from
    cadence: Slot = two_time_scales()  # which role updates when
    advantage: Slot = group_relative()  # what a is, where a slot reads it
    normaliser: Slot = abs_mean()  # what g is divided by

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Every slot, those of the forces included."""
        single = tuple(value for f in fields(self) if isinstance(value := getattr(self, f.name), Slot))
        return single + tuple(slot for force in self.external for slot in force.slots)

    @property
    def numbers(self) -> dict[str, Any]:
        """Every number of every slot, by name; a name means the same in every slot that has it."""
        return {key: value for slot in self.slots for key, value in slot.numbers}

    def reads(self, what: str) -> bool:
        """Whether anything must be computed for it: "reward", "logit", "real_data", "pairs", "pull", "advantage"."""
        active = [slot for slot in self.slots if slot is not self.advantage]
        if what == "advantage":
            return any("advantage" in slot.reads for slot in active)
        return any(what in slot.reads for slot in active) or (what == "reward" and self.reads("advantage"))

    def with_numbers(self, numbers: Mapping[str, Any]) -> "Method":
        """The same row with other numbers. Raises ValueError naming those it does not have."""
        unknown = sorted(set(numbers) - set(self.numbers))
        if unknown:
            raise ValueError(
                f"this method has no number {', '.join(unknown)}; it has {', '.join(sorted(self.numbers))}"
            )
        s = numbers.get("s", 0)
        if not 0 <= s < 1:
            raise ValueError(f"s = {s}: 1 - s a or 1 + s a changes sign for |a| = 1 unless 0 <= s < 1 (Eq. 13)")
        changed: dict[str, Any] = {
            f.name: getattr(self, f.name).with_numbers(numbers)
            for f in fields(self)
            if isinstance(getattr(self, f.name), Slot)
        }
        external = tuple(force.map(lambda slot: slot.with_numbers(numbers)) for force in self.external)
        return replace(self, **changed, external=external)


RECOMMENDED = Method(operator=adaptive(), fake=sharpened())
"""AMD as we run it: five fresh fake updates per student update, W of mean 1, t per sample within [0.02, 0.98]."""

LITERAL = Method(
    operator=adaptive(),
    renoise=uniform(low=1e-3, high=1 - 1e-3, share="group"),
    fake=sharpened(normalise="none"),
    cadence=two_time_scales(ratio=1, samples="same"),
)
"""AMD as Algorithm 1 prints it (W once, as in Eq. 14; line 19's second factor is a misprint)."""

METHODS: dict[str, Method] = {
    "dmd": Method(external=(TETHER,)),
    "dmd2": Method(external=(ADVERSARIAL,)),
    "d-dmd": Method(operator=decoupled(), renoise=cleaner_ca(), normaliser=abs_mean(normaliser="cond")),
    "magic": Method(real=shrinking()),
    "dmdr": Method(external=(REWARD,), renoise=annealed_beta(), real=shrinking()),
    "amd": RECOMMENDED,
    # --- not columns of Table 1 ---
    "dmd-pure": Method(),  # A.4's "Pure-DMD": no tether
    "naive": Method(operator=naive()),  # Eq. 8
    "amd-literal": LITERAL,
    "amd-without-adaptation": replace(RECOMMENDED, operator=standard()),  # repulsive sharpening alone
    "amd-without-sharpening": replace(RECOMMENDED, fake=ones()),  # dynamic score adaptation alone
}


def row(name: str, numbers: Mapping[str, Any] | None = None) -> Method:
    """A method by name, with numbers replaced. Raises ValueError naming the known methods or numbers."""
    if name not in METHODS:
        near = get_close_matches(name, METHODS, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"'{name}' is no method; {hint}known: {', '.join(METHODS)}")
    return METHODS[name].with_numbers(numbers or {})


TABLE_1 = {"dmd": "DMD", "dmd2": "DMD2", "d-dmd": "D-DMD", "magic": "Magic Dist.", "dmdr": "DMDR", "amd": "AMD (Ours)"}
"""The columns of the paper's Table 1, in its order."""


def taxonomy() -> str:
    """Table 1 printed from METHODS, transposed: a line per method, a column per slot."""
    header = ["method", "H", "F_ext", "F_t", "real teacher", "fake teacher", "rollout", "cadence"]
    lines = [header, ["---"] * len(header)]
    for name, title in TABLE_1.items():
        m = METHODS[name]
        external = " + ".join(map(str, m.external)) or "0"
        lines.append([title, *map(str, (m.operator, external, m.renoise, m.real, m.fake, m.rollout, m.cadence))])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
