# Tables and figures of Adaptive Matching Distillation, from real images to printed numbers.
#
#   snakemake -c2 main                                  the main job (`make tiny` adds a progress display and the report)
#   snakemake -c2 all                                   everything that is runnable
#   snakemake -c2 results/tiny/tables/table4.md         one table; figures and single scores work the same way
#   snakemake -n --config scale=paper                   what another scale would do
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"


report: "workflow/report/workflow.rst"


wildcard_constraints:
    scale=either(LIBRARY.scales),
    run=either(PRETRAINED + STUDENTS),
    seed=r"\d+",
    benchmark=either(LIBRARY.benchmarks),
    judge=either(domain.judge.name for domain in LIBRARY.domains.values()),
    problem=either(LIBRARY.problems),


localrules:
    all,
    main,


rule all:
    input:
        goal("all"),


rule main:
    input:
        goal("main"),


include: "workflow/rules/plane.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/distill.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
