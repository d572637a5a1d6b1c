"""`amd plan`: what every job of a scale takes - GPUs, memory per GPU, FLOPs, GPU-hours - before any of it runs.

Parameters, FLOPs of a forward pass and saved activations come from the real modules on the meta device (cost.py); what
a training step consists of comes from the method's own slots. All else is an assumption, printed with the numbers.
"""

from dataclasses import dataclass

from amd.config import plan
from amd.config.jobs import Job, footprint, jobs
from amd.config.load import Library
from amd.distill.methods import row
from amd.train.cost import decoder, network, passes, perceptron, scorer

GIB = 2**30


DEVICES: dict[str | None, tuple[float, float]] = {  # bf16 dense FLOP/s (vendor), share of it that training reaches
    "h100": (989e12, 0.35),
    "h800": (989e12, 0.35),
    "a100": (312e12, 0.40),
    None: (60e9, 1.0),  # one CPU core with bf16 units, as reached by a width-128 SiT at batch 64
}
PLANE = 20e9  # FLOP/s of one core on the plane's stacked MLPs: dispatch and small matrices

ASSUMPTIONS = (
    "weights, gradients and AdamW's two moments in float32: 16 bytes a trained parameter, 4 a frozen one, 4 more for "
    "an EMA; bf16 copies of one network at a time under autocast; gradient buckets of what is trained on several GPUs",
    "activations as saved by one block in float32 (an upper bound under autocast), times depth and micro_batch",
    "10 % of fragmentation, and 2 GiB of context on a GPU, 0.5 GiB of interpreter on a CPU",
    "a backward pass is two forward passes, one where only the input or a low-rank branch needs a gradient",
    "every process holds whole networks (data parallel, nothing sharded)",
    "speed: "
    + "; ".join(
        f"{name or 'a CPU core'} {peak * share / 1e12:.3g} TFLOP/s reached" for name, (peak, share) in DEVICES.items()
    )
    + f"; the plane {PLANE / 1e12:.2g}",
    "waiting for data, checkpoints, scheduling and start-up are not counted",
)


@dataclass(frozen=True)
class Estimate:
    """What one execution of a job takes."""

    devices: int  # GPUs over all nodes; 0 is one CPU core
    memory: float  # bytes per GPU, or of the process on a CPU
    flops: float
    device_hours: float  # GPU-hours, or CPU-core-hours


def estimate(library: Library, job: Job) -> Estimate:
    """One job at its scale, under the footprint that the scale gives its rule."""
    if job.rule == "plane":
        return _plane(library, job)
    if job.run is None or job.rule == "grid":
        return Estimate(0, 0.5 * GIB, 0.0, 0.0)
    asked = footprint(library, job.run.scale.name, job.rule)
    devices = asked.nodes * asked.gpus
    flops, memory = {"pretrain": _pretrain, "distill": _distill}.get(job.rule, _measure)(job, devices)
    peak, share = DEVICES.get(asked.gpu_model if devices else None, DEVICES["h100"])
    memory = 1.1 * memory + (2 if devices else 0.5) * GIB
    return Estimate(devices, memory, flops, flops / (peak * share) / 3600)


def _pretrain(job: Job, devices: int) -> tuple[float, float]:
    run = job.run
    assert run is not None
    sizes, own = run.scale.klass, network(run)
    stage = sizes.classifier if run.system.kind == "classifier" else sizes.teacher
    if run.system.kind == "teacher" and run.domain.teacher is not None:
        return 0.0, 2 * 4.0 * own.parameters  # fetched: the file, and its checked copy
    assert stage is not None, "no published weights and no sizes to train: refused at load"
    held = (20.0 if stage.ema else 16.0) * own.parameters
    return stage.iterations * stage.batch * 3 * own.forward, held + stage.batch * own.activations


def _distill(job: Job, devices: int) -> tuple[float, float]:
    run = job.run
    assert run is not None
    system, sizes, own = run.system, run.scale.klass, network(run)
    assert system.method is not None
    method = row(system.method, system.numbers.model_dump(exclude_none=True))
    judged = decoder(run) + scorer(run, run.domain.reward, run.reward)
    through_network, through_reward = passes(method, system.cfg_weight != 1, system.lora is not None)
    each = through_network * own.forward + through_reward * judged.forward
    flops = run.stage_iterations * sizes.batch * each
    if method.reads("pairs"):
        flops += sizes.tether_pairs * sizes.teacher_steps * (2 if system.cfg_weight != 1 else 1) * own.forward
    branch = 0
    if system.lora is not None:  # on qkv (D -> 3D) and proj (D -> D) of every block
        branch = sizes.network.depth * system.lora.rank * 6 * sizes.network.width
    trained_fake = branch or own.parameters
    buckets = 4.0 * (own.parameters + trained_fake) if devices > 1 else 0.0
    copies = 2.0 * own.parameters if run.scale.precision == "bfloat16" else 0.0
    held = (20.0 if system.ema else 16.0) * own.parameters + 16.0 * trained_fake + 4.0 * own.parameters
    rows = sizes.micro_batch if devices else min(sizes.micro_batch, sizes.batch)
    kept = own.activations
    if method.reads("reward"):
        held += 4.0 * judged.parameters
    if any("reward" in force.value.reads for force in method.external):
        kept += judged.activations
    if any(force.critic is not None for force in method.external):
        kept = max(kept, 2 * own.activations)
    return flops, held + buckets + copies + rows * kept


def _measure(job: Job, devices: int) -> tuple[float, float]:
    run = job.run
    assert run is not None
    sizes, own, pixels = run.scale.klass, network(run), decoder(run)
    scorers = scorer(run, run.domain.judge, run.judge) + scorer(run, run.domain.reward, run.reward)
    draw = own.forward + pixels.forward
    if run.system.kind == "teacher":
        draw = sizes.teacher_steps * (2 if run.system.cfg_weight != 1 else 1) * own.forward + pixels.forward
    if job.rule == "gather":
        return 0.0, 3.0 * sizes.samples * run.domain.pixels[0] * run.domain.pixels[1] ** 2  # bytes: parts, and whole
    draws = job.rule in ("shard", "sample", "trace")
    flops = {
        "shard": sizes.samples * draw / sizes.sample_shards,
        "sample": sizes.samples * draw,
        "score": sizes.samples * scorers.forward,
        "reference": sizes.samples * scorers.forward,  # at most: real images are fewer
        "trace": sizes.milestones * sizes.trace_samples * (draw + scorers.forward),
    }[job.rule]
    held = 4.0 * (own + pixels).parameters * draws + 4.0 * scorers.parameters * (job.rule not in ("sample", "shard"))
    # without a graph two layers' worth of activations live at a time; guidance doubles the rows
    return flops, held + 2 * sizes.sample_batch * (own.activations / sizes.network.depth + pixels.activations / 10)


def _plane(library: Library, job: Job) -> Estimate:
    scale = library.scale(job.output.split("/")[1])
    problem, sizes, own = library.problems[job.name or ""], scale.plane, perceptron(scale.plane)
    flops = 0.0
    for name in problem.methods.values():
        system = library.systems[name]
        assert system.method is not None
        method = row(system.method, system.numbers.model_dump(exclude_none=True))
        each, _ = passes(method, system.cfg_weight != 1, low_rank=False)
        flops += len(scale.seeds) * sizes.iterations * sizes.batch * each * own.forward
    if problem.teacher == "mlp":
        flops += sizes.teacher_iterations * sizes.batch * 3 * own.forward
    runs = len(scale.seeds) * len(problem.methods)
    memory = runs * (36.0 * own.parameters + 3 * sizes.batch * own.activations) + 0.5 * GIB
    return Estimate(0, memory, flops, flops / PLANE / 3600)


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
    lines += ["", *_cells(library, scale, tables), "", *_jobs(library, found)]
    if table is None:
        everything: list[plan.Table | plan.Figure] = [*library.tables.values(), *library.figures.values()]
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


def _jobs(library: Library, found: list[Job]) -> list[str]:
    """One line per rule and kind of job: seeds are taken together, and systems that take the same."""
    groups: dict[tuple[str, Estimate], list[Job]] = {}
    for job in found:
        if job.rule not in LIGHT:
            groups.setdefault((job.rule, estimate(library, job)), []).append(job)
    rows = [("rule", "what", "jobs", "devices", "GiB each", "PFLOP each", "h each", "device-h")]
    hours: dict[str, float] = {"GPU": 0.0, "CPU core": 0.0}
    for (rule, one), group in groups.items():
        total = one.device_hours * len(group)
        hours["GPU" if one.devices else "CPU core"] += total
        elapsed = one.device_hours / max(one.devices, 1)
        device = f"{one.devices} GPU" if one.devices else "CPU"
        numbers = (f"{one.memory / GIB:.1f}", f"{one.flops / 1e15:.3g}", f"{elapsed:.2g}", f"{total:.2g}")
        rows.append((rule, _names(group), str(len(group)), device, *numbers))
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    pad = [str.ljust, str.ljust, *[str.rjust] * (len(widths) - 2)]
    lines = ["  ".join(put(cell, width) for put, cell, width in zip(pad, line, widths, strict=True)) for line in rows]
    light = sum(job.rule in LIGHT for job in found)
    counted = ", ".join(f"{value:.3g} {name}-hours" for name, value in hours.items() if value)
    lines += ["", f"{len(found)} jobs, {light} of them tables, figures and grids (seconds each). Sum: {counted}."]
    students = [job.run for job in found if job.run is not None and job.run.system.kind == "student"]
    if students:
        million = network(students[0]).parameters / 1e6
        lines.append(f"Student, fake and real teacher: networks of {million:.1f} M parameters each.")
    return lines


LIGHT = ("grid", "table", "figure")


def _names(group: list[Job], most: int = 2) -> str:
    names = list(dict.fromkeys(job.what for job in group))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
