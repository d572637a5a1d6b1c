rule plane:
    output:
        directory(plan.plane("{scale}", "{problem}")),
    log:
        "results/{scale}/logs/plane/{problem}.log",
    priority: 2
    threads: cores("plane")
    resources:
        **footprint("plane"),
    params:
        digest=digest("plane"),
        state=state_of_problem,
        budget=budget,
    message:
        "Plane: {wildcards.problem}, all methods and seeds"
    shell:
        "python -m amd plane --scale {wildcards.scale} --problem {wildcards.problem}"
        " --out {output} --state {params.state} --budget {params.budget} > {log} 2>&1"
