# Models that others published: their files are found and named, whoever makes the checkpoints of this scale.
rule fetch:
    output:
        directory(plan.checkpoint("{scale}", "{run}", "{seed}")),
    log:
        log_of("fetch"),
    wildcard_constraints:
        run=either(RELEASED),
    threads: cores("fetch")
    resources:
        **footprint("fetch"),
    params:
        digest=digest("fetch"),
    message:
        "Find the files of {wildcards.run}"
    shell:
        "python -m amd fetch --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed}"
        " --out {output} > {log} 2>&1"
