"""`amd plan`: what every job of a scale takes - GPUs, memory per GPU, FLOPs, GPU-hours - before any of it runs.

A job's work (amd.train.work) meets the devices that its footprint asks for. All else is an assumption, printed with the
numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amd.config import plan
from amd.config.jobs import Job, footprint, jobs
from amd.config.load import Library, Run
from amd.config.schema.closed import VIDEO
from amd.config.schema.scale import Footprint
from amd.config.schema.tables import Figure, Table
from amd.train.cost import sequence, size
from amd.train.published_costs import WAITED
from amd.train.work import Arithmetic, work

GIB = 2**30

# FLOP/s that are reached: the vendor's dense peak times a share
H100: dict[Arithmetic, float] = {"bfloat16": 989e12 * 0.35, "tf32": 494e12 * 0.35, "float32": 67e12 * 0.6}
A100: dict[Arithmetic, float] = {"bfloat16": 312e12 * 0.40, "tf32": 156e12 * 0.40, "float32": 19.5e12 * 0.6}
BLACKWELL: dict[Arithmetic, float] = {"bfloat16": 2250e12 * 0.35, "tf32": 1125e12 * 0.35, "float32": 75e12 * 0.6}
CPU: dict[Arithmetic, float] = {"bfloat16": 60e9, "tf32": 60e9, "float32": 60e9}  # a width-128 SiT at batch 64
DEVICES: dict[str | None, dict[Arithmetic, float]] = {
    "h100": H100,
    "h800": H100,
    "h200": H100,
    "b300": BLACKWELL,
    "a100": A100,
    None: CPU,
}
PLANE = 20e9  # FLOP/s of one core on the plane's stacked MLPs: dispatch and small matrices

SPEEDS = "; ".join(
    f"{name or 'a CPU core'} " + ", ".join(f"{speed / 1e12:.3g} {kind}" for kind, speed in speeds.items())
    for name, speeds in DEVICES.items()
)

ASSUMPTIONS = (
    "weights, gradients and AdamW's two moments in float32: 16 bytes a trained parameter, 4 a frozen one, 4 more for "
    "an EMA; bf16 copies of one network at a time under autocast",
    "sharding fsdp2 shares student, fake, teacher and critic out over a node's GPUs; a block is gathered at a time, "
    "its messages hide behind computing; rewards, decoder and text encoders are whole on every GPU",
    "activations are all that lives at once in a step of the real modules, in float32 (an upper bound under autocast), "
    "with recomputation where the scale says so, times the rows that a GPU has at a time",
    "10 % of fragmentation, and 2 GiB of context on a GPU, 0.5 GiB of interpreter on a CPU (0.9 in the text track)",
    "a backward pass is two forward passes, one where only the input or a low-rank branch needs a gradient; "
    "recomputation adds one",
    f"speed in TFLOP/s: {SPEEDS}; the plane {PLANE / 1e12:.2g}. Networks train in the scale's precision, decoders "
    "decode in TF32 for a reward; samples are drawn in float32, clips in what their domain says, and scored in float32",
    f"VBench is {WAITED['vbench']:.0f} s a clip on the mean over its prompts, {WAITED['vbench-i2v']:.0f} of image to "
    "video, as its users wait for it (Vchitect/VBench, issue 195), without FLOPs or memory",
    "waiting for data, checkpoints, scheduling and start-up are not counted, nor the host's memory beside GPUs but for "
    "a frozen teacher that rests there",
)


@dataclass(frozen=True)
class Estimate:
    """What one execution of a job takes."""

    devices: int  # GPUs over all nodes; 0 is one CPU core
    memory: float  # bytes per GPU, or of the process on a CPU
    flops: float
    device_hours: float  # GPU-hours, or CPU-core-hours
    parts: tuple[tuple[str, float], ...] = ()  # of the memory, in bytes
    host: float = 0.0  # bytes of a node's memory, for a frozen teacher that rests there


def estimate(library: Library, job: Job) -> Estimate:
    """One job at its scale, under the footprint that the scale gives its rule."""
    asked = asked_by(library, job)
    done = work(library, job, asked)
    devices = asked.nodes * asked.gpus
    speeds = DEVICES.get(asked.gpu_model or "h100", H100) if devices else CPU
    seconds = sum(flops / (PLANE if job.rule == "plane" else speeds[kind]) for kind, flops in done.flops.items())
    seconds += done.waited
    text = job.run is not None and job.run.system.track == "text"
    memory = 1.1 * sum(done.memory.values()) + (2.0 if devices else 0.9 if text else 0.5) * GIB
    parts = tuple((part, size) for part, size in done.memory.items() if size)
    return Estimate(devices, memory, sum(done.flops.values()), seconds / 3600, parts, done.host)


def asked_by(library: Library, job: Job) -> Footprint:
    """What the scheduler is asked for, for a job."""
    scale = job.output.split("/")[1]
    if job.run is None or job.rule in LIGHT:
        return footprint(library, scale, job.rule)
    return footprint(library, scale, job.rule, job.run.system.track)


# --- the text of `amd plan` ------------------------------------------------------------------------------------------


def text(library: Library, scale: str, table: str | None = None) -> str:
    """Every job of a scale's runnable tables and figures, or of one table, with totals and assumptions."""
    if table is None:
        tables, figures = plan.expand(library, ["*"], library.tables), plan.expand(library, ["*"], library.figures)
    else:
        tables, figures = [plan.known_table(library, table).name], []
    found = jobs(library, scale, tables, figures)
    entry = library.scale(scale)
    lines = [f"Scale {scale}: seeds {', '.join(map(str, entry.seeds))}, {entry.precision}."]
    if entry.banner:
        lines.append(entry.banner)
    for track in sorted({library.tables[name].track for name in tables}):
        domain = library.domain(scale, track)
        lines.append(
            f"Track {track}: {domain.title}." + (f" It stands in: {domain.stand_in}." if domain.stand_in else "")
        )
    estimates = {job.output: estimate(library, job) for job in found if job.rule not in LIGHT}
    lines += ["", *_cells(library, scale, tables), "", *_jobs(found, estimates), *_students(library, found, estimates)]
    if table is None:
        everything: list[Table | Figure] = [*library.tables.values(), *library.figures.values()]
        refused = [(entry.name, plan.reason_not_runnable(library, entry)) for entry in everything]
        lines += ["", "Not runnable:", *(f"  {name}: {reason}" for name, reason in refused if reason)]
    lines += ["", "Assumptions:", *(f"  - {line}" for line in ASSUMPTIONS)]
    return "\n".join(lines)


def _cells(library: Library, scale: str, tables: list[str]) -> list[str]:
    lines = ["Tables:"]
    for name in tables:
        cells = plan.cells(library, name, scale)
        files = plan.table_inputs(library, name, scale)
        lines.append(f"  {plan.table(scale, name)}: {len(cells)} cells from {len(files)} score files")
    return lines


def _jobs(found: list[Job], estimates: dict[str, Estimate]) -> list[str]:
    """One line per rule and kind of job: seeds are taken together, and systems that take the same."""
    groups: dict[tuple[str, Estimate], list[Job]] = {}
    for job in found:
        if job.rule not in LIGHT:
            groups.setdefault((job.rule, estimates[job.output]), []).append(job)
    rows = [("rule", "what", "jobs", "devices", "GiB each", "PFLOP each", "h each", "device-h")]
    hours: dict[str, float] = {"GPU": 0.0, "CPU core": 0.0}
    for (rule, one), group in groups.items():
        total = one.device_hours * len(group)
        hours["GPU" if one.devices else "CPU core"] += total
        elapsed = one.device_hours / max(one.devices, 1)
        device = f"{one.devices} GPU" if one.devices else "CPU"
        numbers = (f"{one.memory / GIB:.1f}", f"{one.flops / 1e15:.3g}", f"{elapsed:.2g}", f"{total:.2g}")
        rows.append((rule, _names(group), str(len(group)), device, *numbers))
    light = sum(job.rule in LIGHT for job in found)
    counted = ", ".join(f"{value:,.4g} {name}-hours" for name, value in hours.items() if value)
    return [
        *_aligned(rows, left=2),
        "",
        f"{len(found)} jobs, {light} of them tables, figures and grids (seconds each). Sum: {counted}.",
    ]


def _students(library: Library, found: list[Job], estimates: dict[str, Estimate]) -> list[str]:
    """What the memory of a distillation is for, per GPU or process; systems that take the same on one line."""
    lines: list[str] = []
    for track in dict.fromkeys(job.run.system.track for job in found if job.run and job.rule == "distill"):
        distilled = [job for job in found if job.run and job.rule == "distill" and job.run.system.track == track]
        first, asked = distilled[0].run, asked_by(library, distilled[0])
        assert first is not None
        resting = max(estimates[job.output].host for job in distilled)
        lines += ["", f"{_networks(first)} {_spread(asked, resting)}:"]
        groups: dict[tuple[tuple[str, float], ...], list[Job]] = {}
        for job in distilled:
            groups.setdefault(estimates[job.output].parts, []).append(job)
        titles = list(dict.fromkeys(part for parts in groups for part, _ in parts))
        rows = [("", *titles)]
        for parts, group in groups.items():
            sizes = dict(parts)
            rows.append((_names(group), *(f"{sizes[t] / GIB:.2f}" if t in sizes else "" for t in titles)))
        lines += _aligned(rows, left=1)
    return lines


def _networks(run: Run) -> str:
    million = size(run) / 1e6
    said = f"Student, fake and real teacher of track {run.system.track}: networks of {million:,.1f} M parameters each."
    return f"{said} {_lengths(run)}" if run.system.track in VIDEO else said


def _lengths(run: Run) -> str:
    """Tokens of a clip, and of what a streaming student makes and reads at a time."""
    read = sequence(run)
    rows, columns = read.frame
    clip = f"A clip is {read.tokens(read.frames):,} tokens ({read.frames} frames of {rows} x {columns})"
    if read.chunk is None or read.window is None:
        return f"{clip}."
    return f"{clip}, a chunk {read.tokens(read.chunk):,}, the window that it reads {read.tokens(read.window):,}."


def _spread(asked: Footprint, host: float) -> str:
    """`host`: bytes of a node's memory, for a teacher that rests there."""
    if not asked.gpus:
        return "GiB of the process, by what it is for"
    shared = "nothing sharded" if asked.sharding == "none" else f"sharding {asked.sharding}"
    resting = f", the frozen teacher on the CPU ({host / GIB:.2f} GiB of a node's memory)" if host else ""
    return f"GiB per GPU on {asked.nodes} x {asked.gpus} {asked.gpu_model or 'GPUs'}, {shared}{resting}"


def _aligned(rows: Sequence[tuple[str, ...]], left: int) -> list[str]:
    """Columns as wide as they need; the first `left` begin at the left."""
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    pad = [*[str.ljust] * left, *[str.rjust] * (len(widths) - left)]
    return [
        "  ".join(put(cell, width) for put, cell, width in zip(pad, line, widths, strict=True)).rstrip()
        for line in rows
    ]


LIGHT = ("fetch", "grid", "table", "figure")


def _names(group: list[Job], most: int = 2) -> str:
    """Of whom, and on which benchmark."""
    on = list(dict.fromkeys(job.benchmark for job in group if job.benchmark))
    names = list(dict.fromkeys(job.what for job in group)) if group[0].rule != "reference" else on
    said = ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
    return said if names is on or not on else f"{said}: {', '.join(on)}"
