"""`snakemake --lint` without its wish for conda or a container: one pinned Python environment serves all rules.

Prints what is left and exits 1 when something is.
"""

import re
import subprocess
import sys

WISH = "Specify a conda environment or container for each rule."


def findings() -> list[str]:
    """Every other finding with its place. RuntimeError when the linter said nothing that we understand."""
    # 9.27 takes `--lint json` and prints text all the same
    done = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], capture_output=True, text=True)
    text = done.stdout + done.stderr
    if done.returncode and "Lints for" not in text:
        raise RuntimeError(f"snakemake --lint failed:\n{text}")
    found, place = [], ""
    for line in text.splitlines():
        if line.startswith("Lints for"):
            place = line.removeprefix("Lints for ").rstrip(":")
        elif (lint := re.match(r"    \* (.*?):?$", line)) and lint[1] != WISH:
            found.append(f"{place}: {lint[1]}")
    return found


if __name__ == "__main__":
    left = findings()
    print("\n".join(left) or "snakemake --lint: clean but for its wish for conda or a container")
    sys.exit(bool(left))
