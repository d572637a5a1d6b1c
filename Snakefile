# Tables and figures of Adaptive Matching Distillation, from real images to printed numbers.
#
#   snakemake -c2 main                                  the main job (`make tiny` adds a progress display and the report)
#   snakemake -c2 all                                   everything that is runnable
#   snakemake -c2 results/tiny/tables/table4.md         one table; figures and single scores work the same way
#   snakemake -n --config scale=paper                   what another scale would do
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/parameters.smk"
include: "workflow/rules/resources.smk"


report: "workflow/report/workflow.rst"


wildcard_constraints:
    scale=either(SCALES),
    run=either(PRETRAINED + STUDENTS + RELEASED),
    seed=r"\d+",
    benchmark=either(LIBRARY.benchmarks),
    judge=either(domain.judge.name for domain in LIBRARY.domains.values()),
    problem=either(LIBRARY.problems),
    part=r"\d+",
    parts=r"\d+",


# On a cluster these run beside Snakemake itself: each takes seconds and no more than one core.
localrules:
    all,
    main,
    grid,
    table,
    figure,


rule all:
    input:
        goal("all"),


rule main:
    input:
        goal("main"),


include: "workflow/rules/plane.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/distill.smk"
include: "workflow/rules/released.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/checkpoints.smk"
include: "workflow/rules/isolated.smk"


# At the end of a run in which something failed: each failed job with the end of its own log.
onerror:
    shell("python -m amd status --failed --scale {SCALE} --checkpoints {CHECKPOINTS} >&2 || true")
