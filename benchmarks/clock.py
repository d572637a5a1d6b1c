"""CPU seconds, and what a whole takes beside the sum of the passes that it cannot do without."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads."""
    start = time.process_time()
    run()
    return time.process_time() - start


def beside(
    title: str,
    whole: Sequence[float],
    counts: Mapping[str, Sequence[int]],
    each: Mapping[str, Sequence[float]],
    named: str = "the step",
) -> float:
    """Print a table of the parts, and return the median over rounds of `whole` / sum of counts x each.

    `whole`: (rounds,) seconds of the step (or what `named` calls it). `counts`: part -> (rounds,) how often that
    round's step needs it. `each`: part -> (rounds,) seconds of one, measured in the same round.
    """
    rounds = range(len(whole))
    print(f"\n{title:<42}{'count':>7}{'ms each':>9}{'ms':>8}")
    for name, times in each.items():
        count = statistics.mean(counts[name])
        took = statistics.median(counts[name][i] * times[i] for i in rounds)
        print(f"{name:<42}{count:>7.3g}{1e3 * statistics.median(times):>9.1f}{1e3 * took:>8.0f}")
    sums = [sum(counts[name][i] * each[name][i] for name in each) for i in rounds]
    ratio = statistics.median(took / needed for took, needed in zip(whole, sums, strict=True))
    print(f"{'sum':<42}{'':>16}{1e3 * statistics.median(sums):>8.0f}")
    print(f"{named:<42}{'':>16}{1e3 * statistics.median(whole):>8.0f}   {ratio:.2f} times the sum")
    return ratio
