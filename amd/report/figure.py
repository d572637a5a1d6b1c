"""Figures drawn from traces, scores and grids: a png, the plotted numbers as json, a caption as md. No torch.

curves: Figure 5, metrics over training, a panel per metric. coevolution: Figure 6, two metrics over training and
against each other. dose: metrics against a number of the method. gallery: every system's samples from the same noise.
winrate: Figure 9, contests with a baseline prompt by prompt.
The plane's figures are drawn by amd.report.plane.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.image import imread
from PIL import Image

from amd.config import plan
from amd.config.load import Library, Run
from amd.config.schema.tables import Figure
from amd.report.curves import coevolution, curves
from amd.report.gallery import CAPTIONS, WIDTH
from amd.report.sheet import Drawing, Sheet
from amd.report.statistics import LEVEL, summary
from amd.report.style import look, panels, save, write_json, write_text


def build(library: Library, name: str, scale: str, out_base: Path, *, root: Path = Path()) -> None:
    """Write `out_base`.png, .json and .md. ValueError: an unknown figure, or nothing that it shows exists yet."""
    if name not in library.figures:
        raise ValueError(f"'{name}' is no figure; known: {', '.join(sorted(library.figures))}")
    entry, out = library.figures[name], Path(out_base)
    if (reason := plan.reason_not_runnable(library, entry)) is not None:
        raise ValueError(f"figures/{name}.yaml cannot be drawn yet: {reason}")
    if entry.kind not in KINDS:
        from amd.report import plane

        return plane.build(library, name, scale, out, root=root)
    sheet = Sheet(library, entry, scale, out, root)
    drawing = KINDS[entry.kind](sheet)
    content = {"figure": name, "title": title(entry), "kind": entry.kind, "scale": scale, "banner": sheet.banner}
    write_json(out.with_name(f"{out.name}.json"), {**content, **drawing.numbers})
    parts = [f"# {title(entry)}", *[f"> {line}" for line in sheet.banner], " ".join(entry.caption.split())]
    write_text(out.with_name(f"{out.name}.md"), "\n\n".join([*parts, *drawing.said]) + "\n")
    return None


def title(entry: Figure) -> str:
    """As the paper numbers it."""
    return f"{entry.paper}: {entry.title}" if entry.paper else entry.title


# --- over a number ---------------------------------------------------------------------------------------------------


def dose(sheet: Sheet) -> Drawing:
    """Metrics against the number in `options`: every seed a dot, the mean with its interval."""
    found: dict[str, dict[str, Any]] = {}
    for name in sheet.figure.systems:
        each = {
            run.seed: content
            for run in sheet.runs(name)
            if (content := sheet.read(run, _score(sheet, run))) is not None
        }
        if each:
            found[name] = {
                "dose": sheet.figure.options[name],
                "seeds": list(each),
                "n": next(iter(each.values()))["n"],
                "metrics": {key: [content["metrics"][key] for content in each.values()] for key in sheet.metrics},
            }
    if not found:
        raise ValueError(f"figures/{sheet.figure.name}.yaml: no score exists at scale {sheet.scale} yet; run amd score")
    entries = sorted(found.values(), key=lambda entry: entry["dose"])
    figure, axes = panels(1, len(sheet.metrics), 3.0 * len(sheet.metrics), 3.4)
    colour = look(["", "dose"])["dose"][0]
    for ax, key in zip(axes, sheet.metrics, strict=True):
        for entry in entries:
            entry.setdefault("summary", {})[key] = vars(summary(entry["metrics"][key]))
            values = entry["metrics"][key]
            ax.plot([entry["dose"]] * len(values), values, "o", color=colour, alpha=0.35, markersize=3)
        means = [summary(entry["metrics"][key]) for entry in entries]
        errors = [mean.half_width or 0.0 for mean in means]
        at = [entry["dose"] for entry in entries]
        ax.errorbar(at, [mean.mean for mean in means], yerr=errors, color=colour, marker="o", capsize=3, elinewidth=1)
        ax.set_title(sheet.metric(key))
        ax.set_xlabel(_dose_label(sheet))
    save(figure, sheet.png, sheet.banner)
    counts = " or ".join(sorted({str(len(entry["seeds"])) for entry in entries}))
    samples = " or ".join(sorted({str(entry["n"]) for entry in entries}))
    said = (
        f"Small dots are seeds, lines their means with {LEVEL:.0%} intervals (Student's t over {counts} seeds); "
        f"{samples} samples per seed."
    )
    return Drawing({"systems": found}, [said, *sheet.absent(found)])


def _score(sheet: Sheet, run: Run) -> str:
    return plan.score(sheet.scale, run.name, run.seed, str(sheet.figure.benchmark), run.domain.judge.name)


def _dose_label(sheet: Sheet) -> str:
    """What the systems' titles have before the equals sign: "k = 1" -> "k"."""
    return next(iter(sheet.figure.systems)).partition("=")[0].strip()


# --- pictures --------------------------------------------------------------------------------------------------------


def gallery(sheet: Sheet) -> Drawing:
    """Every system's grid under its title."""
    found: dict[str, dict[str, Any]] = {}
    for name in sheet.figure.systems:
        run = sheet.runs(name, stage=False)[0]
        if (file := sheet.root / plan.grid(sheet.scale, run.name, run.seed)).is_file():
            grid = file.relative_to(sheet.root)
            found[name] = {"system": run.system.name, "seed": run.seed, "grid": str(grid)}
    if not found:
        raise ValueError(f"figures/{sheet.figure.name}.yaml: no grid exists at scale {sheet.scale} yet; run amd grid")
    pictures = {name: Image.open(sheet.root / entry["grid"]) for name, entry in found.items()}
    if all(CAPTIONS in picture.info for picture in pictures.values()):
        if all(getattr(picture, "n_frames", 1) > 1 for picture in pictures.values()):
            from amd.report.moving import side_by_side  # FFmpeg is no business of images

            side_by_side(pictures, sheet.png)
        else:
            _side_by_side(sheet, pictures)
        said = "A row per prompt; the same noise in all of it."
        return Drawing({"systems": found}, [said, *sheet.absent(found)])
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure, axes = panels(rows, columns, 3.0 * columns, 3.2 * rows + 0.3)
    for ax in axes:
        ax.set_axis_off()
    for ax, (name, entry) in zip(axes, found.items(), strict=False):
        picture = imread(sheet.root / entry["grid"])
        ax.imshow(
            picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if picture.shape[0] < 600 else "antialiased"
        )
        ax.set_title(name)
    save(figure, sheet.png, sheet.banner)
    said = "One row per class; a place in a grid starts from the same noise in all of them."
    return Drawing({"systems": found}, [said, *sheet.absent(found)])


def _side_by_side(sheet: Sheet, pictures: Mapping[str, Image.Image]) -> None:
    """A column per system, each row's prompt once, at the left."""
    captions = json.loads(next(iter(pictures.values())).info[CAPTIONS])
    tiles = [picture.crop((0, 0, int(picture.info[WIDTH]), picture.height)) for picture in pictures.values()]
    tall = 0.76 * len(captions)
    widths = [3.0, *[0.8] * len(tiles)]
    figure, axes = panels(1, len(widths), sum(widths), tall + 0.7, widths)
    for ax in axes:
        ax.set_axis_off()
    axes[0].set(xlim=(0, 1), ylim=(len(captions), 0))
    for row, caption in enumerate(captions):
        axes[0].text(1.0, row + 0.5, fill(caption[:140], 40), ha="right", va="center", fontsize=8)
    for ax, name, picture in zip(axes[1:], pictures, tiles, strict=True):
        ax.imshow(picture, interpolation="nearest" if picture.height < 1000 else "antialiased", aspect="auto")
        ax.set_title(fill(name, 10, break_long_words=False), fontsize=6.5)
    save(figure, sheet.png, sheet.banner)


def contests(sheet: Sheet) -> Drawing:
    """Win rates over the baseline."""
    from amd.report import contests  # pandas takes a second to import

    return contests.contests(sheet)


KINDS: dict[str, Callable[[Sheet], Drawing]] = {
    "curves": curves,
    "coevolution": coevolution,
    "dose": dose,
    "gallery": gallery,
    "winrate": contests,
}
"""Kind of a figure's file -> how it is drawn; the plane's kinds are amd.report.plane's."""
