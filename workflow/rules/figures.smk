rule figure:
    input:
        measurements=measurements,
    output:
        report(
            plan.figure("{scale}", "{name}", "png"),
            caption="../report/figure.rst",
            category="Figures",
            labels=shown_as("picture"),
        ),
        report(
            plan.figure("{scale}", "{name}", "html"),
            caption="../report/figure.rst",
            category="Figures",
            labels=shown_as("with its numbers"),
        ),
        [plan.figure("{scale}", "{name}", ext) for ext in plan.FIGURE_FILES if ext != "png"],
    log:
        "results/{scale}/logs/figures/{name}.log",
    wildcard_constraints:
        name=either(LIBRARY.figures),
    priority: 3
    threads: cores("figure")
    resources:
        **footprint("figure"),
    params:
        digest=digest("figure"),
        title=title,
        about=about,
        drawn=drawn,
    message:
        "Figure {wildcards.name}"
    shell:
        "python -m amd figure --scale {wildcards.scale} {wildcards.name} > {log} 2>&1"
