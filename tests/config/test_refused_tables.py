"""What is wrong in tables, figures, benchmarks and config.yaml."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from amd.config.load import ConfigError, load

Edit = Callable[[str, str, str], None]
Put = Callable[[str, str, Any], None]
Refused = Callable[[list[str]], None]
Edited = tuple[str, str, str, list[str]]

EDITED = {
    # what is wrong: (file, text there, its replacement, what the message must say)
    "unknown system in a row": (
        "tables/table4.yaml",
        "system: sit-amd, printed",
        "system: sit-amdd, printed",
        ["tables/table4.yaml: rows[4]", "'sit-amdd' is no system; did you mean 'sit-amd'? known: "],
    ),
    "unknown benchmark": (
        "tables/table4.yaml",
        "title: FID, benchmark: class,",
        "title: FID, benchmark: clas,",
        ["tables/table4.yaml: columns[0].benchmark", "'clas' is no benchmark; did you mean 'class'?"],
    ),
    "a metric that nobody in a panel gives": (
        "benchmarks/drawbench.yaml",
        "metrics: [pickscore, hpsv2, imagereward]",
        "metrics: [pickscore, anime_hpsv2, imagereward]",
        ["benchmarks/drawbench.yaml: metrics[1]", "'anime_hpsv2' is no metric of the panel of domain 'emoji';"],
    ),
    "a win rate by who is in no panel": (
        "figures/figure9.yaml",
        "metrics: [pickscore, hpsv2, imagereward]",
        "metrics: [pickscore, hpsv3, imagereward]",
        [
            "figures/figure9.yaml: metrics[1]",
            "'hpsv3' is no member of the panel of domain 'emoji'; did you mean 'hpsv2'?",
        ],
    ),
    "a figure of a released system": (
        "figures/figure9.yaml",
        "DMDR: sdxl-dmdr",
        "DMDR: released-lcm",
        ["figures/figure9.yaml: systems.DMDR", "'released-lcm' is a released system: at some scales only quoted"],
    ),
    "unknown metric": (
        "tables/table4.yaml",
        "metric: sfid",
        "metric: sfidd",
        ["tables/table4.yaml: columns[1].metric", "'sfidd' is no metric of benchmark 'class'; did you mean 'sfid'?"],
    ),
    "unknown column of a printed value": (
        "tables/table4.yaml",
        '{fid: "3.5573"',
        '{fidd: "3.5573"',
        ["tables/table4.yaml: rows[2].printed.fidd", "'fidd' is no column; did you mean 'fid'?"],
    ),
    "a printed value that is a number": (
        "tables/table4.yaml",
        'fid: "3.5573"',
        "fid: 3.5573",
        ["tables/table4.yaml: rows[2].printed.fid", "3.5573 will not do", "string"],
    ),
    "unknown baseline": (
        "tables/table4.yaml",
        "baseline: DMD\n",
        "baseline: DMD1\n",
        ["tables/table4.yaml: baseline (line", "'DMD1' is no row; did you mean 'DMD'?"],
    ),
    "a metric nobody judges": (
        "benchmarks/class.yaml",
        "metrics: [fid,",
        "metrics: [fidd,",
        ["benchmarks/class.yaml: metrics[0]", "'fidd' is no metric of a domain of track class"],
    ),
    "a figure of a teacher's training": (
        "figures/figure6.yaml",
        "DMD: sit-dmd",
        "DMD: sit-teacher",
        ["figures/figure6.yaml: systems.DMD", "'sit-teacher' is a teacher; only students"],
    ),
    "a dose without its strength": (
        "figures/dose.yaml",
        "  k = 3: 3.0\n",
        "",
        ["figures/dose.yaml: options", "'k = 3' must stand in both"],
    ),
    "a chosen domain that does not exist": (
        "config.yaml",
        "domains: {}",
        "domains: {class: fashon}",
        ["config.yaml: domains.class", "'fashon' is no domain; did you mean 'fashion'?"],
    ),
    "unknown scale": ("config.yaml", "scale: tiny", "scale: tinny", ["config.yaml: scale", "did you mean 'tiny'?"]),
    "unknown goal": (
        "config.yaml",
        "tables: [table4]",
        "tables: [tabel4]",
        ["config.yaml: goals.main.tables[0]", "'tabel4' is no table; did you mean 'table4'?"],
    ),
}

SET = {
    # what is wrong: (file, key, its value or ... for none, what the message must say)
    "a text row in a table of classes": (
        "tables/table4.yaml",
        "rows.4.system",
        "sdxl-amd",
        ["tables/table4.yaml: rows[4]", "'sdxl-amd' is a student of track text; this table is of class"],
    ),
    "a row of a scorer": (
        "tables/table7.yaml",
        "rows.1.system",
        "emoji-align-a",
        ["tables/table7.yaml: rows[1].system", "'emoji-align-a' is a scorer of track text; this table is of text"],
    ),
    "a metric of a domain that nobody can print": (
        "benchmarks/drawbench.yaml",
        "metrics",
        ["pickscoer"],
        ["benchmarks/drawbench.yaml: metrics[0]", "'pickscoer' is no metric of a domain of track text"],
    ),
}

WINS = {
    "title": "Wins",
    "caption": "Share of prompts on which a system beats another.",
    "track": "text",
    "kind": "winrate",
    "systems": {"DMD2": "sdxl-dmd2", "AMD": "sdxl-amd"},
    "baseline": "DMD2",
    "benchmarks": ["drawbench", "hpdv2"],
}


@pytest.mark.parametrize("case", EDITED.values(), ids=EDITED.keys())
def test_what_is_wrong_is_refused_by_file_key_and_value(case: Edited, refused: Refused, edit: Edit):
    *change, said = case
    edit(*change)
    refused(said)


@pytest.mark.parametrize("case", SET.values(), ids=SET.keys())
def test_a_value_that_will_not_do_is_refused(case: tuple[str, str, Any, list[str]], refused: Refused, put: Put):
    *change, said = case
    put(*change)
    refused(said)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("baseline", None, "baseline: None is no title in systems; known: AMD, DMD2"),
        ("baseline", "DMD", "baseline (line 8): 'DMD' is no title in systems; did you mean 'DMD2'?"),
        ("benchmarks", [], "benchmarks (line 9): missing; a figure of kind 'winrate' counts wins on their prompts"),
        (
            "benchmarks",
            ["drawbanch"],
            "benchmarks[0] (line 10): 'drawbanch' is no benchmark; did you mean 'drawbench'?",
        ),
        ("systems", {}, "systems (line 5): missing; a figure of kind 'winrate' shows systems"),
        ("systems", {"DMD2": "sit-dmd2"}, "'sit-dmd2' is of track class; this figure is of text"),
    ],
)
def test_a_figure_of_wins_names_its_baseline_and_its_prompts(root: Path, key: str, value: Any, said: str):
    file = root / "figures/wins.yaml"
    file.write_text(yaml.safe_dump(WINS, sort_keys=False))
    load(root)
    content = {**WINS, key: value}
    file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
    with pytest.raises(ConfigError) as refusal:
        load(root)
    assert "figures/wins.yaml: " in str(refusal.value)
    assert said in str(refusal.value)
