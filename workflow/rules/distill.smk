rule distill:
    input:
        made_from=made_from,
    output:
        directory(plan.checkpoint("{scale}", "{run}", "{seed}")),
    log:
        log_of("distill"),
    wildcard_constraints:
        scale=scale_apart_from(PULLED),
        run=trained_here(STUDENTS),
    threads: cores("distill")
    resources:
        **footprint("distill"),
    params:
        digest=digest("distill"),
        state=state_of_run,
        budget=budget,
        launcher=launcher("distill"),
    message:
        "Distill {wildcards.run}, seed {wildcards.seed}"
    shell:
        "{params.launcher} -m amd distill --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed}"
        " --out {output} --state {params.state} --budget {params.budget} > {log} 2>&1"
