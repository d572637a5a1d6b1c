"""A slot is a function closed over its numbers: `adaptive(s=0.5)` can be called, compared and printed.

The numbers are the function's keyword-only arguments, so a row of Table 1 can be read back from a method.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args


@dataclass(frozen=True)
class Slot:
    """`name(numbers)`; calling it calls the function with its numbers."""

    name: str
    function: Callable[..., Any] = field(repr=False, compare=False)
    numbers: tuple[tuple[str, Any], ...] = ()
    reads: frozenset[str] = frozenset()  # what must be computed for it: "advantage", "reward", "logit", ...

    def __post_init__(self) -> None:
        for number, value in self.numbers:
            known = get_args(self.function.__annotations__.get(number))  # of a Literal
            if known and value not in known:
                raise ValueError(f"{self.name}: {number} = {value!r}; known: {', '.join(map(repr, known))}")

    def __call__(self, *args: Any) -> Any:
        return self.function(*args, **dict(self.numbers))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.numbers)})"

    def __getitem__(self, number: str) -> Any:
        return dict(self.numbers)[number]

    def with_numbers(self, numbers: Mapping[str, Any]) -> "Slot":
        """The same slot with those of `numbers` that it has."""
        return replace(self, numbers=tuple((key, numbers.get(key, value)) for key, value in self.numbers))


def slot(*reads: str) -> Callable[[Callable[..., Any]], Callable[..., Slot]]:
    """Turn `def adaptive(d, advantage, cfg_weight, *, s=0.5)` into a constructor `adaptive(s=0.5) -> Slot`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Slot]:
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

        def build(**numbers: Any) -> Slot:
            unknown = set(numbers) - set(defaults)
            if unknown:
                raise ValueError(f"{function.__name__} has no number {sorted(unknown)}; it has {sorted(defaults)}")
            return Slot(function.__name__, function, tuple((defaults | numbers).items()), frozenset(reads))

        build.__name__, build.__doc__, build.__wrapped__ = function.__name__, function.__doc__, function  # type: ignore[attr-defined]
        return build

    return decorate
