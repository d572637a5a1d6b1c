rule reference:
    input:
        scorers=all_scorers,
        packages=all_packages,
    output:
        directory(plan.reference("{scale}", "{seed}", "{benchmark}", "{judge}")),
    log:
        f"{plan.results('{scale}', 'reference', '{seed}')}/logs/{{benchmark}}-{{judge}}.log",
    threads: cores("reference")
    resources:
        **footprint("reference"),
    params:
        digest=digest("reference"),
    message:
        "Look at the real images of benchmark {wildcards.benchmark} by {wildcards.judge}"
    shell:
        "python -m amd reference --scale {wildcards.scale} --seed {wildcards.seed}"
        " --benchmark {wildcards.benchmark} --out {output} > {log} 2>&1"


rule sample:
    input:
        checkpoint=plan.checkpoint("{scale}", "{run}", "{seed}"),
    output:
        directory(plan.samples("{scale}", "{run}", "{seed}", "{benchmark}")),
    log:
        log_of("sample-{benchmark}"),
    wildcard_constraints:
        scale=either(drawn_by(one_job=True)),
    group:
        measured_together("sample")
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


rule shard:
    input:
        checkpoint=plan.checkpoint("{scale}", "{run}", "{seed}"),
    output:
        temp(directory(plan.shard("{scale}", "{run}", "{seed}", "{benchmark}", "{part}", "{parts}"))),
    log:
        log_of("shard-{benchmark}-{part}-of-{parts}"),
    threads: cores("shard")
    resources:
        **footprint("shard"),
    params:
        digest=digest("shard"),
    message:
        "Sample {wildcards.run}, seed {wildcards.seed}, for benchmark {wildcards.benchmark}: part {wildcards.part} of {wildcards.parts}"
    shell:
        "python -m amd sample --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed}"
        " --benchmark {wildcards.benchmark} --shard {wildcards.part}/{wildcards.parts} --out {output} > {log} 2>&1"


rule gather:
    input:
        shards=shards,
    output:
        directory(plan.samples("{scale}", "{run}", "{seed}", "{benchmark}")),
    log:
        log_of("gather-{benchmark}"),
    wildcard_constraints:
        scale=either(drawn_by(one_job=False)),
    threads: cores("gather")
    resources:
        **footprint("gather"),
    params:
        digest=digest("gather"),
    message:
        "Put the samples of {wildcards.run}, seed {wildcards.seed}, together"
    shell:
        "python -m amd gather --shards {input.shards} --out {output} > {log} 2>&1"


rule score:
    input:
        samples=plan.samples("{scale}", "{run}", "{seed}", "{benchmark}"),
        reference=compared_with,
        scorers=scorers,
        packages=packages,
    output:
        score=plan.score("{scale}", "{run}", "{seed}", "{benchmark}", "{judge}"),
        records=plan.records("{scale}", "{run}", "{seed}", "{benchmark}", "{judge}"),
    log:
        log_of("score-{benchmark}-{judge}"),
    group:
        measured_together("score")
    threads: cores("score")
    resources:
        **footprint("score"),
    params:
        digest=digest("score"),
    message:
        "Score {wildcards.run}, seed {wildcards.seed}, on benchmark {wildcards.benchmark} by {wildcards.judge}"
    shell:
        "python -m amd score --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed}"
        " --benchmark {wildcards.benchmark} --samples {input.samples} --reference {input.reference}"
        " --out {output.score} --records {output.records}"
        " > {log} 2>&1"


rule trace:
    input:
        checkpoints=traced,
        reference=compared_with,
        scorers=scorers,
    output:
        plan.trace("{scale}", "{run}", "{seed}", "{benchmark}"),
    log:
        log_of("trace-{benchmark}"),
    group:
        measured_together("trace")
    threads: cores("trace")
    resources:
        **footprint("trace"),
    params:
        digest=digest("trace"),
    message:
        "Trace {wildcards.run}, seed {wildcards.seed}, over its training"
    shell:
        "python -m amd trace --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed}"
        " --benchmark {wildcards.benchmark} --reference {input.reference} --out {output} > {log} 2>&1"


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
