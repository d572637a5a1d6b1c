"""What is wrong with a scale."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

from amd.config.checks.fit import of_domains
from amd.config.methods import GROUPED
from amd.config.read import unknown
from amd.config.schema.closed import PROMPTED, Track
from amd.config.schema.scale import RULES, Scale
from amd.config.schema.sizes import TrackSizes

if TYPE_CHECKING:
    from amd.config.load import Library


def of_scale(library: "Library", scale: Scale) -> Iterator[str]:
    """A scale: its domains, sizes and footprints."""
    document = library.documents["scales"][scale.name]
    yield from of_domains(library, document, scale, scale.domains, "does not fit")
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
