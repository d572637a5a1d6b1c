"""What a job computes and holds: FLOPs by the arithmetic they are in, bytes by what they are for.

Parameters, FLOPs of a pass and bytes alive in it come from the real modules (amd.train.cost); what a training step
consists of comes from the method's own slots. Where networks are shared out over processes, so are their bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from amd.config import plan
from amd.config.jobs import Job
from amd.config.load import Library, Run
from amd.config.schema.assets import Scorer
from amd.config.schema.closed import PROMPTED, VIDEO
from amd.config.schema.scale import Footprint
from amd.config.schema.sizes import Pretraining
from amd.config.served import served
from amd.data.captioned import FILMS
from amd.distill.methods import row
from amd.train.cost import (
    NOTHING,
    Cost,
    branch,
    decoder,
    encoder,
    gathered,
    network,
    passes,
    perceptron,
    pictures,
    released,
    scorer,
    size,
    texts,
    tokens,
    trunk,
)
from amd.train.published_costs import FLUX_TEXTS, WAITED

Arithmetic = Literal["bfloat16", "tf32", "float32"]
"""Of matrix products. A GPU's convolutions in float32 are TF32 in training, and float32 where samples are drawn."""

TRAINED, FROZEN, AVERAGED = 16.0, 4.0, 4.0  # bytes a parameter: weight, gradient, two moments; weight alone; EMA
NARROW = 2.0  # of a weight in bfloat16


@dataclass(frozen=True)
class Work:
    """One execution of a job. Bytes are those of one process."""

    flops: Mapping[Arithmetic, float] = field(default_factory=dict)  # over all devices together
    memory: Mapping[str, float] = field(default_factory=dict)
    host: float = 0.0  # bytes of a node's memory, for a frozen teacher that rests there
    waited: float = 0.0  # seconds of a device besides the FLOPs, for judges that are known by their time


def work(library: Library, job: Job, asked: Footprint) -> Work:
    """Of a job at its scale, on what it asks for."""
    if job.rule == "plane":
        return _plane(library, job)
    if job.run is None or job.rule == "grid":
        return Work()
    if job.rule == "pretrain":
        return _pretrain(job.run)
    if job.rule == "distill":
        return _distill(job.run, asked)
    return _measure(library, job, job.run, asked)


def _pretrain(run: Run) -> Work:
    if {"teacher": run.domain.teacher, "initial": run.domain.initial}.get(run.system.kind) is not None:
        return Work({}, {run.system.kind: 2 * FROZEN * size(run)})  # fetched: the file, and its checked copy
    own = network(run)
    stage = _stage(run)
    assert stage is not None, "no published weights and no sizes to train: refused at load"
    held = TRAINED + (AVERAGED if stage.ema else 0)
    memory = {run.system.kind: held * own.parameters, "activations": stage.batch * own.activations, "data": _data(run)}
    return Work({_precision(run, "teacher"): stage.iterations * stage.batch * 3 * own.forward}, memory)


def _stage(run: Run) -> Pretraining | None:
    """The sizes of a training that is no distillation."""
    if run.system.kind == "teacher":
        return run.sizes.teacher
    if run.system.kind == "initial":
        return run.video.initial
    if run.system.kind == "classifier":
        return run.klass.classifier
    assert run.system.architecture is not None, "checked at load"
    return run.prompted.scorers.get(run.system.architecture)  # type: ignore[arg-type]


def _data(run: Run) -> float:
    """Bytes of captioned images that a training of the text track keeps: pixels, latents, and states of captions."""
    if run.system.track not in PROMPTED:
        return 0.0
    shown = run.text.images if run.system.track == "text" else run.video.clips
    if shown is None:
        return 0.0
    return shown * (5.0 * prod(run.domain.pixel_shape) + 4.0 * prod(run.domain.latent_shape)) + _states(run, shown)


def _states(run: Run, prompts: int) -> float:
    """Bytes of the states of prompts, where they are kept."""
    kept = run.domain.encoder is not None and run.domain.encoder.kept
    return 4.0 * prompts * tokens(run) * run.prompted.network.context if kept else 0.0


def _precision(run: Run, kind: str = "student") -> Arithmetic:
    """What a network trains in; classifiers and scorers in float32."""
    return "bfloat16" if run.system.kind == kind and run.scale.precision == "bfloat16" else "float32"


def _distill(run: Run, asked: Footprint) -> Work:
    system, sizes, fused = run.system, run.sizes, asked.gpus > 0
    assert system.method is not None
    method = row(system.method, run.numbers)
    # a streaming student's passes, chunk by chunk, are taken as its teacher's over the clip
    own, pixels, judge = network(run.teacher or run, fused), decoder(run), scorer(run.domain.reward, run.reward)
    guided = run.cfg_weight != 1
    each = passes(method, guided, system.lora is not None)
    rows = run.stage_iterations * run.batch
    critic = trunk(run.teacher or run, fused) if method.reads("logit") else NOTHING
    flops: dict[Arithmetic, float] = {"bfloat16": 0.0, "tf32": 0.0, "float32": 0.0}
    again = run.system.track in PROMPTED and run.prompted.recompute
    flops[_precision(run)] += rows * own.forward * (each.network + again * each.again)
    flops[_precision(run)] += rows * critic.forward * (each.trunk + again * each.trunk_again)
    flops["tf32"] += rows * (each.reward * pixels.forward + each.real * encoder(run).forward)
    flops["float32"] += rows * each.reward * judge.forward
    if method.reads("pairs"):
        flops[_precision(run)] += sizes.tether_pairs * sizes.teacher_steps * (2 if guided else 1) * own.forward
    if run.domain.encoder is not None and not run.domain.encoder.kept:
        flops["float32"] += rows * (each.drawn + each.real) * (texts(run).forward + pictures(run).forward)
        if run.domain.begins:  # a first frame's latents
            flops["tf32"] += rows * (each.drawn + each.real) * encoder(run).forward

    rests = asked.offload and system.lora is None
    shards, encodes = _shards(asked), method.reads("real_data") or run.domain.begins
    memory = {
        "student": _held(run, own, system.student_lora.rank if system.student_lora else None) / shards,
        "fake": (TRAINED * (branch(run, system.lora.rank) if system.lora else own.parameters)) / shards,
        "teacher": 0.0 if rests else FROZEN * own.parameters / shards,
        "critic": TRAINED * critic.parameters / shards,
        "reward": FROZEN * judge.parameters * method.reads("reward"),
        "decoder": FROZEN * pixels.parameters * (method.reads("reward") or encodes),
        "prompts": FROZEN * (texts(run).parameters + pictures(run).parameters) + _states(run, _training_prompts(run)),
    }
    if shards > 1:
        block, rest = gathered(run)  # one block in use and one on its way, the gradient of one; the rest in float32
        memory["gathered"] = (2 * NARROW + FROZEN) * block + FROZEN * rest
    elif run.scale.precision == "bfloat16":
        memory["gathered"] = NARROW * own.parameters  # autocast's copies of the network in use
    kept = own.activations
    if method.reads("reward"):
        kept += max(pixels.resting, judge.resting)
    if any("reward" in force.value.reads for force in method.external):
        kept += pixels.activations + judge.activations
    if encodes:
        kept = max(kept, encoder(run).resting)
    kept = max(kept, 2 * critic.activations)  # generated and real rows
    memory["activations"] = min(sizes.micro_batch, -(-run.batch // max(asked.nodes * asked.gpus, 1))) * kept
    return Work(flops, memory, host=rests * FROZEN * own.parameters / shards * max(asked.gpus, 1))


def _shards(asked: Footprint) -> int:
    """Over how many processes the networks are shared out: those of a node, or the nodes of a process each."""
    return 1 if asked.sharding == "none" else max(asked.gpus if asked.gpus > 1 else asked.nodes, 1)


def _held(run: Run, own: Cost, rank: int | None) -> float:
    """Bytes of a student: whole, or a branch on frozen weights; and its average."""
    moving = own.parameters if rank is None else branch(run, rank)
    frozen = 0 if rank is None else own.parameters
    return (TRAINED + (AVERAGED if run.system.ema else 0)) * moving + FROZEN * frozen


def _training_prompts(run: Run) -> int:
    """How many prompts a text student is trained on."""
    return run.prompted.prompts.get("train", 0) if run.system.track in PROMPTED else 0


def _measure(library: Library, job: Job, run: Run, asked: Footprint) -> Work:
    sizes, fused = run.sizes, asked.gpus > 0
    assert job.benchmark is not None
    samples = plan.sample_count(run, library.benchmarks[job.benchmark])
    if job.rule == "gather":  # bytes: parts, and whole; films are linked
        return Work({}, {} if run.domain.clip else {"samples": 3.0 * samples * _pixels(run)})
    if run.system.release is not None:
        return _measure_released(library, job, run, fused)
    data = run.domain.data
    if job.rule == "reference" and run.system.track in VIDEO and (data is None or data.source not in FILMS):
        return Work({}, {})  # nobody films these prompts
    own, pixels, judges = network(run, fused), decoder(run), _judges(library, job.benchmark, run)
    guided = 2 if run.cfg_weight != 1 else 1
    if run.system.kind == "teacher":
        draw = sizes.teacher_steps * guided * own.forward
    else:
        numbers = row(run.system.method, run.numbers).numbers if run.system.method else run.numbers
        draw, guided = numbers.get("steps", 1) * own.forward, 1
    exact = pixels.forward + texts(run).forward + pictures(run).forward + run.domain.begins * encoder(run).forward
    draws, scores = job.rule in ("shard", "sample", "trace"), job.rule not in ("sample", "shard")
    drawn, judged = {  # images; the text track's reference are its own, about
        "shard": (samples / sizes.sample_shards, 0.0),
        "sample": (samples, 0.0),
        "score": (0.0, samples),
        "reference": (0.0, samples),
        "trace": (sizes.milestones * sizes.trace_samples,) * 2,
    }[job.rule]
    flops: dict[Arithmetic, float] = {"bfloat16": 0.0, "float32": drawn * exact + judged * judges.forward}
    flops[run.domain.clip.drawn_in if run.domain.clip else "float32"] += drawn * draw
    live = max(guided * own.resting, pixels.resting) if draws else 0.0
    memory = {
        "network": FROZEN * own.parameters * draws,
        "decoder": FROZEN * pixels.parameters * draws,
        "prompts": FROZEN * (texts(run).parameters + pictures(run).parameters) * draws,
        "judges": FROZEN * judges.parameters * scores,
        "activations": sizes.sample_batch * max(live, judges.resting * scores),
    }
    if not fused and scores and not run.domain.clip:  # on a CPU the images lie in the same memory; films are opened
        memory["samples"] = 5.0 * samples * _pixels(run)
    waited = sum(WAITED.get(judge.name, 0.0) for judge in _members(library, job.benchmark, run))
    return Work(flops, memory, waited=judged * waited)


def _measure_released(library: Library, job: Job, run: Run, fused: bool) -> Work:
    """Samples by a recipe: its steps, guided or not, in its precision; scores as of every other system."""
    release, sizes = run.system.release, run.sizes
    assert release is not None
    assert job.benchmark is not None
    samples = plan.sample_count(run, library.benchmarks[job.benchmark])
    if job.rule == "score":
        judges = _judges(library, job.benchmark, run)
        memory = {"judges": FROZEN * judges.parameters, "activations": sizes.sample_batch * judges.resting}
        return Work(
            {"float32": samples * judges.forward},
            memory if fused else memory | {"samples": 5.0 * samples * _pixels(run)},
        )
    own, pixels = released(run), decoder(run)
    texts_of = FLUX_TEXTS if release.pipeline == "FluxPipeline" else texts(run)
    guided, narrow = 2 if run.system.cfg_weight != 1 else 1, release.precision != "float32"
    share = (release.resolution / run.domain.pixels[1]) ** 2
    draw = release.steps * guided * own.forward + guided * texts_of.forward
    part = samples / (sizes.sample_shards if job.rule == "shard" else 1)
    flops: dict[Arithmetic, float] = {"float32": part * share * pixels.forward}
    arithmetic: Arithmetic = "bfloat16" if narrow else "float32"
    flops[arithmetic] = flops.get(arithmetic, 0.0) + part * draw
    each = NARROW if narrow else FROZEN
    memory = {
        "network": each * own.parameters,
        "decoder": FROZEN * pixels.parameters,
        "prompts": each * texts_of.parameters,
        "activations": sizes.sample_batch * max(guided * own.resting * each / FROZEN, share * pixels.resting),
    }
    return Work(flops, memory)


def _pixels(run: Run) -> int:
    return prod(run.domain.pixel_shape)


def _judges(library: Library, benchmark: str, run: Run) -> Cost:
    """Everybody who looks at a benchmark's images."""
    domain = run.domain
    if not domain.panel:
        return scorer(domain.judge, run.judge) + scorer(domain.reward, run.reward)
    trained = {each.system.name: each for each in run.panel}
    total = NOTHING
    for judge in _members(library, benchmark, run):
        total += scorer(judge, trained.get(judge.system or ""))
    return total


def _members(library: Library, benchmark: str, run: Run) -> list[Scorer]:
    """Of the domain's panel, those whom a benchmark asks."""
    if not run.domain.panel:
        return []
    known = served(run.domain, benchmark)
    stems = {known[metric].stem for metric in plan.metrics(library, benchmark, run.scale.name)}
    return [run.domain.panel[stem] for stem in sorted(stems)]


def _plane(library: Library, job: Job) -> Work:
    scale = library.scale(job.output.split("/")[1])
    problem, sizes = library.problems[job.name or ""], scale.plane
    assert sizes is not None, "a job of the plane is asked for where it runs"
    own, flops = perceptron(sizes), 0.0
    for name in problem.methods.values():
        system = library.systems[name]
        assert system.method is not None
        method = row(system.method, system.numbers.model_dump(exclude_none=True))
        each = passes(method, system.cfg_weight != 1, low_rank=False)
        flops += len(scale.seeds) * sizes.iterations * sizes.batch * (each.network + each.trunk) * own.forward
    if problem.teacher == "mlp":
        flops += sizes.teacher_iterations * sizes.batch * 3 * own.forward
    runs = len(scale.seeds) * len(problem.methods)
    return Work({"float32": flops}, {"runs": runs * (36.0 * own.parameters + 3 * sizes.batch * own.activations)})
