rule table:
    input:
        scores=scores,
    output:
        report(
            plan.table("{scale}", "{name}", "html"),
            caption="../report/table.rst",
            category="Tables",
            labels=shown_as(None),
        ),
        [plan.table("{scale}", "{name}", ext) for ext in plan.TABLE_FILES],
    log:
        "results/{scale}/logs/tables/{name}.log",
    wildcard_constraints:
        name=either(LIBRARY.tables),
    threads: cores("table")
    resources:
        **footprint("table"),
    params:
        digest=digest("table"),
        title=title,
        about=about,
        drawn=drawn,
    message:
        "Table {wildcards.name}"
    shell:
        "python -m amd table --scale {wildcards.scale} {wildcards.name} > {log} 2>&1"
