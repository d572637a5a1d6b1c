"""Tables: the arithmetic of a cell, what is said where nothing was measured, and that four files say the same."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amd.config import plan
from amd.config.load import Library
from amd.report.cells import lines
from amd.report.content import collect
from amd.report.markup import Grid, escape, latex, markdown, plain, signed
from amd.report.statistics import compare, summary
from amd.report.table import build
from amd.report.wording import footer


def made(library: Library, name: str, root: Path) -> dict[str, Any]:
    """Every file of a table: ext -> text, json parsed."""
    build(library, name, "tiny", root / name, root=root)
    files: dict[str, Any] = {ext: (root / f"{name}.{ext}").read_text() for ext in ("md", "tex", "csv")}
    return files | {"json": json.loads((root / f"{name}.json").read_text())}


def row(files: dict[str, Any], title: str) -> dict[str, Any]:
    return next(each for each in files["json"]["rows"] if each["title"] == title)


def test_cell_is_mean_interval_printed_value_and_difference(library, results, table4) -> None:
    table4()
    cell = row(made(library, "table4", results.root), "AMD (Ours)")["cells"]["fid"]
    expected = summary([15.0, 15.0, 13.5])
    assert cell["summary"] == {"n": 3, "mean": expected.mean, "low": expected.low, "high": expected.high}
    assert cell["printed"] == "3.4690"
    assert cell["difference"] == pytest.approx(expected.mean - 3.4690)
    assert cell["printed_difference"] == pytest.approx(3.4690 - 3.5573)


def test_comparison_is_paired_with_the_baseline_row(library, results, table4) -> None:
    table4(shift=(-3.0, -4.0, -3.5))
    test = row(made(library, "table4", results.root), "AMD (Ours)")["cells"]["fid"]["comparison"]
    expected = compare({0: 15.0, 1: 15.0, 2: 13.5}, {0: 18.0, 1: 19.0, 2: 17.0})
    assert expected is not None
    assert test["difference"]["mean"] == pytest.approx(-3.5)
    assert (test["p"], test["verdict"]) == (pytest.approx(expected.p), "below")


def test_inside_the_noise_is_printed_where_it_is(library, results, table4) -> None:
    table4(shift=(-3.0, 2.0, 1.5))
    text = made(library, "table4", results.root)["md"].partition("seed by seed")[2]
    line = next(line for line in text.splitlines() if line.startswith("| AMD (Ours)"))
    assert "inside the noise" in line.split("|")[2]
    table4(shift=(-3.0, -4.0, -3.5))
    text = made(library, "table4", results.root)["md"].partition("seed by seed")[2]
    line = next(line for line in text.splitlines() if line.startswith("| AMD (Ours)"))
    assert line.split("|")[2].strip().endswith(", better")


def test_names_are_the_domains_and_the_banner_stands_over_the_table(library, results, table4) -> None:
    table4()
    files = made(library, "table4", results.root)
    for name in ("md", "tex"):
        assert "FD-digits" in files[name]
        assert "Not comparable with the paper" in files[name]
        assert files[name].index("Not comparable") < files[name].index("FD-digits")
    header = next(line for line in files["md"].splitlines() if line.startswith("| System"))
    assert [cell for cell in header.split(" | ") if re.fullmatch(r"FID.*", cell)] == []  # never without the suffix


def test_paper_scale_has_no_banner_and_the_papers_names(library, results) -> None:
    content = collect(library, "table4", "paper", results.root)
    assert content.banner == []
    assert content.names["fid"] == "FID"


def test_training_reward_is_marked_in_rewarded_rows_alone(library, results, table4) -> None:
    table4()
    files = made(library, "table4", results.root)
    marked = {r["title"]: r["cells"]["reward"]["trained_on"] for r in files["json"]["rows"]}
    assert marked == {
        "Teacher (many steps)": False,
        "Start (pure DMD)": False,
        "DMD": False,
        "DMDR": True,
        "AMD (Ours)": True,
        "AMD w/o dynamic score adaptation": True,
        "AMD w/o repulsive sharpening": True,
    }
    assert files["md"].count("†") == 4 + 1  # four rows, and the note that explains the mark
    assert not any(r["cells"]["fid"]["trained_on"] for r in files["json"]["rows"])


def test_row_that_was_not_run_says_so_and_invents_nothing(library, results) -> None:
    for seed in range(3):
        results.score("sit-dmd", seed, fid=18.0 + seed)
    results.score("sit-amd", 1, fid=14.0)
    files = made(library, "table4", results.root)
    amd, dmdr = row(files, "AMD (Ours)"), row(files, "DMDR")
    assert (dmdr["state"], dmdr["cells"]["fid"]["summary"], dmdr["cells"]["fid"]["difference"]) == (
        "not run",
        None,
        None,
    )
    assert (amd["state"], amd["cells"]["fid"]["summary"]["low"]) == ("1 of 3", None)
    assert amd["cells"]["fid"]["comparison"]["verdict"] == "one seed"
    assert files["json"]["order"] == {}
    line = next(line for line in files["md"].splitlines() if line.startswith("| DMDR"))
    assert line.split("|")[3:6] == [" — ", " 9.6341 ", " — "]


def test_score_of_another_configuration_is_left_out_and_named(library, results, table4) -> None:
    table4()
    file = results.score("sit-amd", 2, fid=1.0)
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"run_digest": "000000000000"}))
    files = made(library, "table4", results.root)
    assert row(files, "AMD (Ours)")["cells"]["fid"]["per_seed"] == {"0": 15.0, "1": 15.0}
    assert any("out of date" in note and "sit-amd" in note for note in files["json"]["notes"])


def test_the_papers_order_is_compared_with_ours(library, results, table4) -> None:
    table4()
    order = made(library, "table4", results.root)["json"]["order"]
    assert order["fid"] == {"paper": ["AMD (Ours)", "DMD", "DMDR"], "here": ["AMD (Ours)", "DMD", "DMDR"]}
    assert order["is"]["paper"][0] == order["is"]["here"][0] == "DMDR"
    table4(shift=(1.0, 1.0, 1.1))
    order = made(library, "table4", results.root)["json"]["order"]
    assert order["fid"]["here"] == ["DMD", "AMD (Ours)", "DMDR"]


def test_teacher_is_not_paired_with_students(library, results, table4) -> None:
    table4()
    teacher = row(made(library, "table4", results.root), "Teacher (many steps)")
    assert teacher["seeds"] == [0]
    assert teacher["cells"]["fid"]["comparison"] is None
    assert teacher["cells"]["fid"]["summary"]["low"] is None


def test_baseline_is_the_one_of_the_rows_own_block(library, results) -> None:
    for seed in range(3):
        results.score("sit-dmd", seed, fid=18.0)
        results.score("sit-amd", seed, fid=14.0)
        results.score("sit-dmd-long", seed, fid=4.5)
        results.score("sit-amd-long", seed, fid=9.0)
    rows = made(library, "table4-starts", results.root)["json"]["rows"]
    found = {r["system"]: r["cells"]["fid"]["comparison"] for r in rows if r["title"] == "AMD"}
    assert found["sit-amd"]["difference"]["mean"] == -4.0
    assert found["sit-amd-long"]["difference"]["mean"] == 4.5


def test_all_files_carry_the_same_means(library, results, table4) -> None:
    table4()
    files = made(library, "table4", results.root)
    content = collect(library, "table4", "tiny", results.root)
    table = {(r["row"], r["column"]): r for r in csv.DictReader(files["csv"].splitlines())}
    for each, line in zip(files["json"]["rows"], content.lines, strict=True):
        of_row = {
            "md": next(text for text in files["md"].splitlines() if text.startswith(f"| {each['title']} |")),
            "tex": next(text for text in files["tex"].splitlines() if text.startswith(f"{escape(each['title'])} &")),
        }
        for column in content.measured:
            cell = each["cells"][column.key]
            entry = table[each["title"], column.key]
            assert float(entry["mean"]) == cell["summary"]["mean"]
            assert entry["printed"] == (cell["printed"] or "")
            shown = plain(cell["summary"]["mean"], content.digits(column, line.values[column.key]))
            assert shown in of_row["md"]
            assert escape(shown) in of_row["tex"]


def test_footer_names_what_the_numbers_are_of(library, results, table4) -> None:
    table4()
    text = " ".join(made(library, "table4", results.root)["json"]["footer"])
    digest = library.run("sit-amd", "tiny", 0).digest
    for part in ("5000", "as agreed", "a" * 12, "b" * 12, "c" * 12, digest, "seed 2 222222222222"):
        assert part in text
    assert "Mixed" not in text
    file = results.score("sit-amd", 0, fid=15.0)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"git_sha": "d" * 40}))
    assert "come from 2 commits" in " ".join(made(library, "table4", results.root)["json"]["footer"])


def test_the_footer_of_clips_says_what_each_judge_was_shown_once(library, results, table4) -> None:
    """Another text or a dimension left out is another number; of pictures it is in the score alone."""
    table4()
    content = collect(library, "table4", "tiny", results.root)
    content.scores = [{**score, "preprocessing": {"vbench": "clips of short prompts"}} for score in content.scores]
    pictures = footer(content)
    content.table = content.table.model_copy(update={"track": "video"})
    assert [line for line in footer(content) if line not in pictures] == ["vbench was shown: clips of short prompts."]


def test_floor_stands_under_the_rows(library, results, table4) -> None:
    table4()
    text = made(library, "table4", results.root)["md"]
    half = next(line for line in text.splitlines() if line.startswith("| Real images, half against half"))
    assert half.split("|")[3].strip() == "0.700"
    assert text.index("AMD w/o repulsive") < text.index("Real images")


def test_columns_of_several_benchmarks_have_their_own_floors_and_names(library, results) -> None:
    real = {"videoalign-vbench": 1.0, "videogen-eval": 2.0, "ta-hard": 3.0}
    for cell in plan.cells(library, "table6", "tiny"):
        for seed, path in zip(cell.seeds, cell.scores, strict=True):
            benchmark = next(name for name in real if f"/{name}/" in path)
            numbers = dict.fromkeys(library.benchmarks[benchmark].metrics, 0.5)
            floor = {"at_n": dict.fromkeys(numbers, real[benchmark])}
            results._write(path, library.run(cell.system, "tiny", seed), {"metrics": numbers, "floor": floor, "n": 80})
    content = collect(library, "table6", "tiny", results.root)
    floors = content.floor["at_n"]
    assert [floors[key] for key in ("vbench_ta", "videogen_ta", "tahard_ta")] == [1.0, 2.0, 3.0]
    assert len(set(content.names.values())) == len(content.names)
    assert content.names["tahard_ta"] == "TA-Hard: TA (ClipAlign-B)"


def test_a_table_of_quotations_is_refused_with_the_reason(library, results) -> None:
    table = library.tables["table5"]
    quoted = table.model_copy(update={"rows": [row.model_copy(update={"system": None}) for row in table.rows]})
    library = replace(library, tables={**library.tables, "table5": quoted})
    with pytest.raises(ValueError, match="names a system"):
        build(library, "table5", "tiny", results.root / "table5", root=results.root)


def test_unknown_table_lists_the_known(library, results) -> None:
    with pytest.raises(ValueError, match=r"'table44' is no table; known: .*table4"):
        collect(library, "table44", "tiny", results.root)


def test_digits_follow_the_interval(library, results) -> None:
    for seed in range(3):
        results.score("sit-dmd", seed, fid=18.0 + 0.01 * seed)
        results.score("sit-amd", seed, fid=18.0 + 30 * seed)
    build(library, "table4", "tiny", results.root / "t", root=results.root)
    cells: dict[str, str] = {}
    for line in (results.root / "t.md").read_text().splitlines():
        if line.startswith(("| DMD |", "| AMD (Ours) |")):
            cells.setdefault(line.split("|")[1].strip(), line.split("|")[3].strip())
    assert re.fullmatch(r"18\.010 ± 0\.025", cells["DMD"])
    assert re.fullmatch(r"48 ± 75", cells["AMD (Ours)"])


def test_rows_and_cells_agree_with_the_plan(library, results, table4: Callable[..., None]) -> None:
    table4()
    found, complaints = lines(library, "table4", "tiny", results.root)
    assert complaints == []
    assert [line.seeds == line.wanted for line in found] == [True] * len(found)
    assert [line.row.title for line in found if line.baseline and line.row.title == "DMD"] == ["DMD"]


def test_latex_of_any_text_has_no_bare_special_character() -> None:
    found = escape("a_b & 50% of #1 ↑ ± 3 † {x} ~ ^ \\ $ < >")
    bare = re.sub(r"\\[a-z]+|\\.|\$[^$]*\$|\^\{\}|\{\}", "", found)
    assert not set(bare) & set("&%_#$^~↑±†<>")


def test_markup_has_as_many_cells_in_every_row() -> None:
    grid = Grid(["a", "b", "c"], ["heading", ["1", "x|y", "3"]])
    for line in markdown(grid).splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == 4
    assert latex(grid).count("&") == 2 * 2


@pytest.mark.parametrize(("value", "digits", "text"), [(-0.001, 2, "0.00"), (-1.25, 1, "−1.2"), (3.0, 0, "+3")])
def test_signs(value: float, digits: int, text: str) -> None:
    assert signed(value, digits) == text


def test_a_released_system_is_quoted_or_measured_by_the_scales_domain(library, results) -> None:
    """At tiny the paper's number stands alone, and a row without one is not there; at paper scale both wait."""
    tiny = {line.row.title: line for line in lines(library, "table2", "tiny", results.root)[0]}
    assert (tiny["SDXL-LCM"].state, tiny["SDXL-LCM"].values["overall"].printed) == ("quoted", "0.50")
    assert "SDXL-DMD2, as released" not in tiny
    paper = {line.row.title: line for line in lines(library, "table2", "paper", results.root)[0]}
    assert (paper["SDXL-LCM"].state, paper["SDXL-LCM"].values["overall"].printed) == ("not run", "0.50")
    assert paper["SDXL-DMD2, as released"].state == "not run"
    assert "SDXL-LCM (quoted: Table 2 of the paper; Luo et al., 2023)" in made(library, "table2", results.root)["md"]
    build(library, "table2", "paper", results.root / "paper2", root=results.root)
    assert "SDXL-LCM (quoted" not in (results.root / "paper2.md").read_text()
