"""One grid of strings -> Markdown or LaTeX. A grid knows neither metrics nor systems."""

from dataclasses import dataclass, field

MARK = "†"
TEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "^": r"\^{}", "~": r"\~{}"}
TEX |= {
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    MARK: r"$^\dagger$",
    "−": "$-$",
    "<": "$<$",
    ">": "$>$",
}


@dataclass
class Grid:
    """`rows` are cells, or a single string: the heading of the rows that follow."""

    header: list[str]
    rows: list[list[str] | str] = field(default_factory=list)


def markdown(grid: Grid) -> str:
    """A pipe table, numbers to the right; headings of row groups are bold in the first column."""
    align = ["---", *["---:"] * (len(grid.header) - 1)]
    lines = [_pipes(grid.header), _pipes(align)]
    for row in grid.rows:
        lines.append(_pipes([f"**{row}**", *[""] * (len(grid.header) - 1)] if isinstance(row, str) else row))
    return "\n".join(lines)


def _pipes(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def latex(grid: Grid) -> str:
    """A booktabs tabular."""
    width = len(grid.header)
    lines = [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", _ampersands(grid.header), r"\midrule"]
    for i, row in enumerate(grid.rows):
        if isinstance(row, str):
            lines += [r"\midrule"] * (i > 0) + [rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escape(row)}}}}} \\"]
        else:
            lines.append(_ampersands(row))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _ampersands(cells: list[str]) -> str:
    return " & ".join(escape(cell) for cell in cells) + r" \\"


def escape(text: str) -> str:
    """Plain text as LaTeX."""
    return "".join(TEX.get(character, character) for character in text.replace("\\", "/"))


def signed(value: float, digits: int) -> str:
    """With its sign, a true minus, and no minus before a zero."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+") + text


def plain(value: float, digits: int) -> str:
    """Without a plus."""
    return signed(value, digits).removeprefix("+")
