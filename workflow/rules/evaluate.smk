rule sample:
    input:
        checkpoint=plan.checkpoint("{scale}", "{run}", "{seed}"),
    output:
        directory(plan.samples("{scale}", "{run}", "{seed}", "{benchmark}")),
    log:
        log_of("sample-{benchmark}"),
    threads: cores("sample")
    resources:
        **footprint("sample"),
    params:
        digest=digest("sample"),
    message:
        "Sample {wildcards.run}, seed {wildcards.seed}, for benchmark {wildcards.benchmark}"
    shell:
        "python -m amd sample --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed}"
        " --benchmark {wildcards.benchmark} --out {output} > {log} 2>&1"


rule score:
    input:
        samples=plan.samples("{scale}", "{run}", "{seed}", "{benchmark}"),
        scorers=scorers,
    output:
        score=plan.score("{scale}", "{run}", "{seed}", "{benchmark}", "{judge}"),
        records=plan.records("{scale}", "{run}", "{seed}", "{benchmark}", "{judge}"),
    log:
        log_of("score-{benchmark}-{judge}"),
    threads: cores("score")
    resources:
        **footprint("score"),
    params:
        digest=digest("score"),
    message:
        "Score {wildcards.run}, seed {wildcards.seed}, on benchmark {wildcards.benchmark} by {wildcards.judge}"
    shell:
        "python -m amd score --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed}"
        " --benchmark {wildcards.benchmark} --samples {input.samples} --out {output.score} --records {output.records}"
        " > {log} 2>&1"


rule trace:
    input:
        checkpoints=traced,
    output:
        plan.trace("{scale}", "{run}", "{seed}", "{benchmark}"),
    log:
        log_of("trace-{benchmark}"),
    threads: cores("trace")
    resources:
        **footprint("trace"),
    params:
        digest=digest("trace"),
    message:
        "Trace {wildcards.run}, seed {wildcards.seed}, over its training"
    shell:
        "python -m amd trace --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed}"
        " --benchmark {wildcards.benchmark} --out {output} > {log} 2>&1"


rule grid:
    input:
        samples=first_samples,
    output:
        report(
            plan.grid("{scale}", "{run}", "{seed}"),
            caption="../report/grid.rst",
            category="Samples",
            labels=shown_system,
        ),
    log:
        log_of("grid"),
    threads: cores("grid")
    resources:
        **footprint("grid"),
    params:
        digest=digest("grid"),
    message:
        "Grid of {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python -m amd grid --samples {input.samples} --out {output} > {log} 2>&1"
