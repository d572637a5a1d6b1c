"""Cross-references and combinations: what no single file can know is wrong. A problem is one line of a ConfigError."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from amd.config.methods import GROUPED, SHRINKING, TAKES
from amd.config.read import unknown
from amd.config.schema import (
    PROMPTED,
    VIDEO,
    Benchmark,
    Domain,
    Figure,
    Problem,
    Scale,
    ScorerArchitecture,
    System,
    Table,
    TextSizes,
    Track,
    TrackSizes,
    VideoSizes,
)
from amd.config.served import FPS, PACKAGES, clashes, served

if TYPE_CHECKING:
    from amd.config.load import Library

NEEDS: dict[str, tuple[str, ...]] = {  # kind of a system -> keys it must have
    "student": ("backbone", "method", "start", "teacher", "stage"),
    "teacher": ("backbone",),
    "initial": ("backbone", "teacher"),
    "classifier": ("architecture", "half"),
    "scorer": ("architecture", "half"),
    "plane": ("backbone", "method"),
    "released": ("release",),
}
MAY: dict[str, tuple[str, ...]] = {  # keys it may have besides; title, about and sources are for all
    "student": ("numbers", "cfg_weight", "lora", "student_lora", "batch", "ema", "warmup", "teacher_seed"),
    "teacher": ("cfg_weight", "start"),
    "initial": ("numbers", "cfg_weight", "teacher_seed"),
    "classifier": (),
    "scorer": (),
    "plane": ("numbers", "cfg_weight", "lora", "ema"),
    "released": ("cfg_weight",),
}
ARCHITECTURES: dict[str, tuple[str, ...]] = {"classifier": ("conv", "resnet"), "scorer": get_args(ScorerArchitecture)}
MODES = {"ring8": 8, "grid9": 9}
RULES = (
    *("pretrain", "distill", "fetch", "track", "pull", "reference", "shard", "gather", "sample"),
    *("score", "trace", "grid", "plane", "table", "figure"),
)
EVERYTHING = "*"  # in a goal: every runnable table, or figure


def problems(library: "Library") -> Iterator[str]:
    """Every problem found in a library whose files are each valid."""
    for scale in library.scales.values():
        yield from _scale(library, scale)
    for domain in library.domains.values():
        yield from _domain(library, domain)
    for system in library.systems.values():
        yield from _system(library, system)
    for problem in library.problems.values():
        yield from _problem(library, problem)
    for name, benchmark in library.benchmarks.items():
        judged = {metric for d in library.domains.values() if d.track == benchmark.track for metric in d.metrics}
        for i, metric in enumerate(benchmark.metrics):
            if metric not in judged:
                here = library.documents["benchmarks"][name].at("metrics", i)
                yield f"{here}: {unknown(metric, f'metric of a domain of track {benchmark.track}', judged)}"
    for table in library.tables.values():
        yield from _table(library, table)
    for figure in library.figures.values():
        yield from _figure(library, figure)
    yield from _choice(library)


def misfit(scale: Scale, domain: Domain, systems: Mapping[str, System]) -> str | None:
    """Why a scale cannot run on a domain, whose scorers are among `systems`, or None."""
    if domain.track == "text":
        return _text_misfit(scale, domain, systems)
    if domain.track in VIDEO:
        return _video_misfit(scale, domain, systems)
    if domain.track != "class":
        return None
    sizes = scale.klass
    if sizes is None:
        return "the scale has no sizes of the class track; add class"
    if domain.teacher is None and sizes.teacher is None:
        return "the domain has no published teacher and the scale no class.teacher to train one; add either"
    if domain.teacher is None and domain.data is None:
        return "the domain has neither a published teacher nor data to train one on; add either"
    if (domain.reward.system or domain.judge.system) and (sizes.classifier is None or domain.data is None):
        return "its classifiers are trained here: that takes the scale's class.classifier and the domain's data"
    if domain.latents[1] % sizes.network.patch:
        return f"latents of side {domain.latents[1]} cannot be cut into patches of {sizes.network.patch}"
    return None


def _text_misfit(scale: Scale, domain: Domain, systems: Mapping[str, System]) -> str | None:
    sizes = scale.text
    if sizes is None:
        return "the scale has no sizes of the text track; add text"
    if (complaint := _prompted_misfit(sizes, domain, systems)) is not None:
        return complaint
    if domain.latents[1] % 2 ** (len(sizes.network.channels) - 1):
        return f"latents of side {domain.latents[1]} cannot be halved {len(sizes.network.channels) - 1} times"
    return None


def _video_misfit(scale: Scale, domain: Domain, systems: Mapping[str, System]) -> str | None:
    track = domain.track
    sizes: VideoSizes | None = getattr(scale, track)
    if sizes is None:
        return f"the scale has no sizes of the {track} track; add {track}"
    if domain.clip is None:
        return f"a domain of the {track} track has a clip: frames, width, fps; add it"
    if (complaint := _prompted_misfit(sizes, domain, systems)) is not None:
        return complaint
    _, frames, height, width = domain.latent_shape
    if height % sizes.network.patch or width % sizes.network.patch:
        return f"latents of {height} x {width} cannot be cut into patches of {sizes.network.patch}"
    if (domain.image_encoder is None) != (sizes.network.image_context is None):
        one, other = f"{track}.network.image_context", "the domain's image_encoder"
        return f"{one} and {other} go together: the states of a first frame"
    if domain.begins and sizes.teacher and sizes.teacher.stills:
        return f"{track}.teacher.stills: a still is its own first frame; leave it out"
    if domain.begins and domain.teacher is None and scale.video is not None and sizes.network != scale.video.network:
        return f"{track}.network is not video.network: its teacher begins from the weights of the video track's"
    if sizes.streaming is not None and frames % sizes.streaming.chunk:
        return f"latents of {frames} frames are not whole chunks of {sizes.streaming.chunk}"
    return None


def _prompted_misfit(sizes: TextSizes | VideoSizes, domain: Domain, systems: Mapping[str, System]) -> str | None:
    track = domain.track
    if domain.encoder is None or "train" not in domain.prompts:
        return f"a domain of the {track} track has an encoder and prompts.train; add both"
    if domain.teacher is None and (sizes.teacher is None or domain.data is None):
        return (
            f"a teacher trained here takes the scale's {track}.teacher and the domain's data; else name a published one"
        )
    if uncounted := sorted(set(domain.prompts) - set(sizes.prompts)):
        return f"{track}.prompts.{uncounted[0]} is missing: how many of the domain's prompts a run takes"
    named = {each.system for each in (domain.reward, *domain.panel.values())}
    trained = {  # those of another track are trained with its sizes
        str(system.architecture)
        for name, system in systems.items()
        if name in named and (system.kind, system.track) == ("scorer", track)
    }
    if unsized := sorted(trained - set(sizes.scorers)):
        return f"{track}.scorers.{unsized[0]} is missing: one of the domain's scorers is trained with it"
    return None


def _scale(library: "Library", scale: Scale) -> Iterator[str]:
    document = library.documents["scales"][scale.name]
    for track, name in scale.domains.items():
        here = document.at("domains", track)
        if name not in library.domains:
            yield f"{here}: {unknown(name, 'domain', library.domains)}"
        elif library.domains[name].track != track:
            yield f"{here}: domain '{name}' is of track {library.domains[name].track}, not {track}"
        elif (complaint := misfit(scale, library.domains[name], library.systems)) is not None:
            yield f"{here}: {name!r} does not fit: {complaint}"
    if scale.klass is not None:
        yield from _sizes(library, document, scale.klass, "class")
    for track in PROMPTED:
        sizes: TrackSizes | None = getattr(scale, track)
        if sizes is None:
            continue
        yield from _sizes(library, document, sizes, track)
        if scale.klass is not None and (sizes.sample_shards == 1) != (scale.klass.sample_shards == 1):
            here = document.at(track, "sample_shards")
            yield f"{here}: either all tracks of a scale have their samples drawn in shards, or none"
    if "default" not in scale.footprints:
        yield f"{document.at('footprints')}: 'default' is missing; it serves the rules not named"
    tracks = get_args(Track)
    for name, asked in scale.footprints.items():
        rule, _, of = name.partition(".")
        if rule not in (*RULES, "default") or (of and of not in tracks):
            kind = f"rule, nor one of a track ({', '.join(f'distill.{each}' for each in tracks)})"
            yield f"{document.at('footprints', name)}: {unknown(name, kind, ['default', *RULES])}"
        if asked.offload and asked.sharding == "none":
            yield f"{document.at('footprints', name, 'offload')}: true is done by fsdp2; set sharding: fsdp2 beside it"
    if len(set(scale.seeds)) != len(scale.seeds):
        yield f"{document.at('seeds')}: {scale.seeds} names a seed twice"


def _sizes(library: "Library", document: Any, sizes: TrackSizes, track: str) -> Iterator[str]:
    if sizes.batch % sizes.group:
        yield f"{document.at(track, 'group')}: {sizes.group} does not divide {track}.batch {sizes.batch}"
    if sizes.batch % sizes.micro_batch:
        yield f"{document.at(track, 'micro_batch')}: {sizes.micro_batch} does not divide {track}.batch {sizes.batch}"
    students = [s for s in library.systems.values() if (s.kind, s.track) == ("student", track)]
    grouped = sorted(s.name for s in students if s.method in GROUPED)
    if sizes.group == 1 and grouped:
        yield (
            f"{document.at(track, 'group')}: 1 will not do: {grouped[0]} and {len(grouped) - 1} more compare a "
            "sample with its group (Eq. 12), and one sample has no spread; use 2 or more, e.g. 8"
        )
    small = sorted(s.name for s in students if s.batch == "small")
    if small and sizes.small_batch is None:
        yield f"{document.at(track, 'small_batch')}: missing; system '{small[0]}' asks for it"
    if sizes.small_batch is not None and sizes.small_batch % sizes.group:
        here = document.at(track, "small_batch")
        yield f"{here}: {track}.group {sizes.group} does not divide it ({sizes.small_batch})"
    stages = {s.stage for s in students if s.stage}
    stages |= {f.stage for f in library.figures.values() if f.track == track and f.kind in ("curves", "coevolution")}
    for stage in sorted(stages - set(sizes.iterations)):
        yield f"{document.at(track, 'iterations')}: stage '{stage}' is missing; a system or figure runs it"


def _domain(library: "Library", domain: Domain) -> Iterator[str]:
    document = library.documents["domains"][domain.name]
    if domain.autoencoder is None and domain.latents != domain.pixels:
        here = document.at("latents")
        yield f"{here}: {domain.latents} differ from pixels {domain.pixels}, but there is no autoencoder"
    if domain.track == "class" and domain.classes == 0:
        yield f"{document.at('classes')}: missing; a domain of the class track has some"
    if domain.track in PROMPTED and not domain.panel:
        yield f"{document.at('panel')}: missing; it says who judges the images of each benchmark"
    for metric, one, other in clashes(domain):
        yield f"{document.at('panel', other)}: metric '{metric}' is {one}'s already; one of the two may judge a domain"
    if domain.clip is not None and domain.track not in VIDEO:
        yield f"{document.at('clip')}: a domain of track {domain.track} is not about clips"
    for benchmark in library.benchmarks.values():
        judged = benchmark.track == domain.track in PROMPTED and set(benchmark.metrics) & set(domain.metrics)
        if judged and benchmark.name not in domain.prompts:
            yield f"{document.at('prompts')}: {benchmark.name} is missing; metrics of that benchmark are named here"
        elif judged:
            yield from _unserved(library, domain, benchmark)
    asked = {metric for each in library.benchmarks.values() if each.track == domain.track for metric in each.metrics}
    for metric in domain.metrics:
        if metric not in asked:
            kind = f"metric of a benchmark of track {domain.track}"
            yield f"{document.at('metrics', metric)}: {unknown(metric, kind, asked)}"
    kind = "scorer" if domain.track in PROMPTED else "classifier"
    judges = [] if domain.track in PROMPTED else [(("judge",), domain.judge)]  # a panel judges there
    for keys, scorer in (
        (("reward",), domain.reward),
        *judges,
        *((("panel", key), each) for key, each in domain.panel.items()),
    ):
        if scorer.scorer == "package" and keys[0] != "panel":
            here = document.at(*keys, "scorer")
            yield f"{here}: 'package' has no gradient and is slow to begin; a panel alone may ask for it"
        elif scorer.scorer == "package" and scorer.name not in PACKAGES:
            yield f"{document.at(*keys, 'scorer')}: {unknown(scorer.name, 'scorer with a package', PACKAGES)}"
        if domain.clip is not None and scorer.name in FPS and scorer.scorer == "own":
            said = scorer.settings.get("fps", FPS[scorer.name])
            if said != domain.clip.fps:
                here, right = document.at(*keys, "settings", "fps"), domain.clip.fps
                yield f"{here}: {scorer.name} takes clips to have {said} frames per second; clip.fps is {right}"
        if scorer.system is not None and scorer.assets:
            yield f"{document.at(*keys)}: give either a system (trained here) or assets (published), and not both"
        if scorer.system is None and not scorer.assets and keys[0] != "panel":
            yield f"{document.at(*keys)}: give either a system (trained here) or assets (published)"
        if scorer.system is not None:
            yield from _system_of(library, document.at(*keys, "system"), scorer.system, kind, domain.track)
    if domain.judge.system is not None and domain.judge.system == domain.reward.system:
        here = document.at("judge", "system")
        yield f"{here}: {domain.judge.system!r} is the training reward too; a judge must differ"


def _initial(library: "Library", document: Any, system: System) -> Iterator[str]:
    """Numbers of a regression on the teacher's ODE: of the student's times alone."""
    if extra := sorted(set(system.numbers.model_dump(exclude_none=True)) - {"steps", "shift"}):
        yield f"{document.at('numbers', extra[0])}: an initial has the student's times alone: steps and shift"
    steps = system.numbers.steps or 1
    for scale in library.scales.values():
        sizes: VideoSizes | None = getattr(scale, system.track, None)
        if sizes is not None and sizes.teacher_steps % steps:
            here = library.documents["scales"][scale.name].at(system.track, "teacher_steps")
            yield f"{here}: {sizes.teacher_steps} is not a multiple of the {steps} steps of system '{system.name}'"


def _unserved(library: "Library", domain: Domain, benchmark: Benchmark) -> Iterator[str]:
    """Metrics of a benchmark that a domain of the text track names and nobody in its panel gives."""
    known = served(domain, benchmark.name)
    for i, metric in enumerate(benchmark.metrics):
        if metric in domain.metrics and metric not in known:
            here = library.documents["benchmarks"][benchmark.name].at("metrics", i)
            yield f"{here}: {unknown(metric, f'metric of the panel of domain {domain.name!r}', known)}"


def _system_of(library: "Library", here: str, name: str, kind: str, track: str) -> Iterator[str]:
    shared = VIDEO if kind == "scorer" and track in VIDEO else (track,)  # a scorer of clips is one of both tracks
    known = {s.name for s in library.systems.values() if s.kind == kind and s.track in shared}
    if name not in library.systems:
        yield f"{here}: {unknown(name, 'system', known)}"
    elif name not in known:
        found = library.systems[name]
        yield f"{here}: '{name}' is a {found.kind} of track {found.track}; a {kind} of track {track} belongs here"


def _system(library: "Library", system: System) -> Iterator[str]:
    document = library.documents["systems"][system.name]
    given = {key for key in system.model_fields_set if getattr(system, key) not in (None, "")}
    for key in NEEDS[system.kind]:
        if key not in given:
            yield f"{document.at(key)}: missing; a {system.kind} needs it"
    allowed = {*NEEDS[system.kind], *MAY[system.kind], "name", "kind", "track", "title", "about", "sources"}
    for key in sorted(given - allowed):
        yield f"{document.at(key)}: a {system.kind} has no '{key}'; it may have {', '.join(sorted(allowed - {'name'}))}"
    built = ARCHITECTURES.get(system.kind, ())
    if built and system.architecture is not None and system.architecture not in built:
        kind = f"architecture of a {system.kind}"
        yield f"{document.at('architecture')}: {unknown(system.architecture, kind, built)}"
    if system.method is not None:
        yield from _method(document, system)
    if system.release is not None and system.release.embedded_guidance is not None and system.cfg_weight != 1:
        here = document.at("cfg_weight")
        yield f"{here}: {system.cfg_weight}, and release.embedded_guidance besides; a recipe guides in one of the ways"
    if system.kind == "initial":
        yield from _initial(library, document, system)
    if system.kind == "teacher" and system.start is not None:
        yield from _teacher_start(library, document, system)
    if system.kind not in ("student", "initial"):
        return
    if system.teacher is not None:
        yield from _system_of(library, document.at("teacher"), system.teacher, "teacher", system.track)
    if system.start is None:
        return
    start = library.systems.get(system.start)
    if start is None:
        yield f"{document.at('start')}: {unknown(system.start, 'system', library.systems)}"
        return
    if start.kind not in ("student", "teacher", "initial") or (start.track, start.backbone) != (
        system.track,
        system.backbone,
    ):
        yield (
            f"{document.at('start')}: '{start.name}' is a {start.kind} with backbone '{start.backbone}' of track "
            f"{start.track}; a student, teacher or initial with backbone '{system.backbone}' belongs here"
        )
    if start.kind == "student" and start.teacher_seed != system.teacher_seed:
        yield (
            f"{document.at('teacher_seed')}: {system.teacher_seed}, but its start '{start.name}' learnt from the "
            f"teacher of seed {start.teacher_seed}; set both"
        )
    chain = [system.name]
    while start is not None and start.start is not None:
        chain.append(start.name)
        if start.start in chain:
            yield f"{document.at('start')}: {' <- '.join([*chain, start.start])} goes in a circle"
            return
        start = library.systems.get(start.start)


def _teacher_start(library: "Library", document: Any, system: System) -> Iterator[str]:
    """A teacher that is told a first frame begins from one that is not, where it is trained here."""
    assert system.start is not None
    here, start = document.at("start"), library.systems.get(system.start)
    if system.track != "i2v":
        yield f"{here}: a teacher of track {system.track} is trained from scratch; one of i2v alone has a start"
    elif start is None:
        yield f"{here}: {unknown(system.start, 'system', library.systems)}"
    elif (start.kind, start.track, start.backbone) != ("teacher", "video", system.backbone):
        yield (
            f"{here}: '{start.name}' is a {start.kind} with backbone '{start.backbone}' of track {start.track}; a "
            f"teacher of track video with backbone '{system.backbone}' belongs here"
        )


def _method(document: Any, system: System) -> Iterator[str]:
    assert system.method is not None
    if system.method not in TAKES:
        yield f"{document.at('method')}: {unknown(system.method, 'method', TAKES)}"
        return
    numbers = system.numbers.model_dump(exclude_none=True)
    for key in numbers:
        if key not in TAKES[system.method]:
            kind = f"number of method '{system.method}'"
            yield f"{document.at('numbers', key)}: {unknown(key, kind, TAKES[system.method])}"
    if numbers.get("low", 0.0) >= numbers.get("high", 1.0):
        yield f"{document.at('numbers', 'low')}: {numbers.get('low')} is not below high {numbers.get('high', 1.0)}"
    moves = system.numbers.pull != 0  # None keeps the row's own, which is not 0
    if system.kind == "student" and system.method in SHRINKING and moves and system.lora is None:
        yield (
            f"{document.at('lora')}: missing; the real teacher of '{system.method}' borrows the fake's low-rank "
            "branch, e.g. lora: {rank: 32, scale: 2.0}"
        )


def _problem(library: "Library", problem: Problem) -> Iterator[str]:
    document, modes = library.documents["problems"][problem.name], MODES[problem.mixture]
    for title, name in problem.methods.items():
        yield from _system_of(library, document.at("methods", title), name, "plane", "plane")
    for i, mode in enumerate(problem.good):
        if not 0 <= mode < modes:
            yield f"{document.at('good', i)}: {mode} is no mode of {problem.mixture}; modes are 0 to {modes - 1}"
    if problem.reward == "selective" and not 0 < len(set(problem.good)) < modes:
        yield f"{document.at('good')}: {problem.good}; a selective reward likes some modes and not all"
    if problem.group == 1:
        here = document.at("group")
        yield f"{here}: 1 will not do: one sample has no spread (Eq. 12); leave it out for the whole batch"


def _table(library: "Library", table: Table) -> Iterator[str]:
    document = library.documents["tables"][table.name]
    tracks = {system.track for system in library.systems.values()}
    keys = [column.key for column in table.columns]
    for i, column in enumerate(table.columns):
        if keys.count(column.key) > 1:
            yield f"{document.at('columns', i, 'key')}: {column.key!r} names two columns"
        if (column.benchmark is None) != (column.metric is None):
            yield f"{document.at('columns', i)}: benchmark and metric go together; a descriptor has neither"
        if column.benchmark is not None and table.track in tracks:
            here = document.at("columns", i, "benchmark")
            benchmark = library.benchmarks.get(column.benchmark)
            if benchmark is None:
                yield f"{here}: {unknown(column.benchmark, 'benchmark', library.benchmarks)}"
            elif column.metric not in benchmark.metrics:
                kind = f"metric of benchmark '{benchmark.name}'"
                yield f"{document.at('columns', i, 'metric')}: {unknown(column.metric, kind, benchmark.metrics)}"
        for j, method in enumerate(column.trained_on):
            if method not in TAKES and table.track in tracks:
                yield f"{document.at('columns', i, 'trained_on', j)}: {unknown(method, 'method', TAKES)}"
    for i, row in enumerate(table.rows):
        if row.system is not None:
            here = document.at("rows", i, "system")
            if row.system not in library.systems:
                yield f"{here}: {unknown(row.system, 'system', library.systems)}"
            elif (found := library.systems[row.system]).track != table.track or found.kind in (
                "classifier",
                "scorer",
            ):
                yield f"{here}: '{row.system}' is a {found.kind} of track {found.track}; this table is of {table.track}"
            if row.quoted_from is not None and getattr(library.systems.get(row.system), "kind", "") != "released":
                here = document.at("rows", i, "quoted_from")
                yield f"{here}: a row is measured (system) or quoted, not both; a released system's may be both"
        for where in ("printed", "descriptors"):
            for key in getattr(row, where):
                if key not in keys:
                    yield f"{document.at('rows', i, where, key)}: {unknown(key, 'column', keys)}"
    titles = [row.title for row in table.rows]
    if table.baseline is not None and table.baseline not in titles:
        yield f"{document.at('baseline')}: {unknown(table.baseline, 'row', titles)}"


def _figure(library: "Library", figure: Figure) -> Iterator[str]:
    document = library.documents["figures"][figure.name]
    for title, name in figure.systems.items():
        here = document.at("systems", title)
        if name not in library.systems:
            yield f"{here}: {unknown(name, 'system', library.systems)}"
        elif library.systems[name].track != figure.track:
            yield f"{here}: '{name}' is of track {library.systems[name].track}; this figure is of {figure.track}"
        elif library.systems[name].kind == "released":
            yield f"{here}: '{name}' is a released system: at some scales only quoted, so that tables alone show it"
    for i, name in enumerate(figure.problems):
        if name not in library.problems:
            yield f"{document.at('problems', i)}: {unknown(name, 'problem', library.problems)}"
    if (figure.kind in ("plane", "law")) != (figure.track == "plane"):
        yield f"{document.at('kind')}: no figure of track {figure.track} is of kind '{figure.kind}'"
        return
    if figure.track == "plane" and not figure.problems:
        yield f"{document.at('problems')}: missing; a figure of kind '{figure.kind}' shows problems of the plane"
    if figure.track != "plane" and not figure.systems:
        yield f"{document.at('systems')}: missing; a figure of kind '{figure.kind}' shows systems"
    if figure.kind in ("curves", "coevolution", "dose"):
        for title, name in figure.systems.items():
            if name in library.systems and library.systems[name].kind != "student":
                here = document.at("systems", title)
                yield f"{here}: '{name}' is a {library.systems[name].kind}; only students have a training to show"
        benchmark = library.benchmarks.get(figure.benchmark or "")
        if benchmark is None:
            yield f"{document.at('benchmark')}: {unknown(figure.benchmark, 'benchmark', library.benchmarks)}"
        else:
            for i, metric in enumerate(figure.metrics):
                if metric not in benchmark.metrics:
                    kind = f"metric of benchmark '{benchmark.name}'"
                    yield f"{document.at('metrics', i)}: {unknown(metric, kind, benchmark.metrics)}"
    if figure.kind == "winrate":
        for i, metric in enumerate(figure.metrics):
            for domain in library.domains.values():
                if domain.track == figure.track and metric not in domain.panel:
                    kind = f"member of the panel of domain '{domain.name}'"
                    yield f"{document.at('metrics', i)}: {unknown(metric, kind, domain.panel)}"
        if figure.baseline not in figure.systems:
            yield f"{document.at('baseline')}: {unknown(figure.baseline, 'title in systems', figure.systems)}"
        for i, name in enumerate(figure.benchmarks):
            if name not in library.benchmarks:
                yield f"{document.at('benchmarks', i)}: {unknown(name, 'benchmark', library.benchmarks)}"
        if not figure.benchmarks:
            yield f"{document.at('benchmarks')}: missing; a figure of kind 'winrate' counts wins on their prompts"
    if figure.kind == "dose":
        for title in sorted(set(figure.systems) ^ set(figure.options)):
            yield f"{document.at('options')}: {title!r} must stand in both systems and options, where its dose is"


def _choice(library: "Library") -> Iterator[str]:
    document, choice = library.documents["config"]["config"], library.choice
    if choice.scale not in library.scales:
        yield f"{document.at('scale')}: {unknown(choice.scale, 'scale', library.scales)}"
        return
    for track, name in choice.domains.items():
        here = document.at("domains", track)
        if name not in library.domains:
            yield f"{here}: {unknown(name, 'domain', library.domains)}"
        elif library.domains[name].track != track:
            yield f"{here}: domain '{name}' is of track {library.domains[name].track}, not {track}"
        elif (complaint := misfit(library.scales[choice.scale], library.domains[name], library.systems)) is not None:
            yield f"{here}: {name!r} does not fit scale '{choice.scale}': {complaint}"
    for goal, wanted in choice.goals.items():
        for kind, noun, known in (("tables", "table", library.tables), ("figures", "figure", library.figures)):
            for i, name in enumerate(getattr(wanted, kind)):
                if name not in known and name != EVERYTHING:
                    yield f"{document.at('goals', goal, kind, i)}: {unknown(name, noun, known)}"
