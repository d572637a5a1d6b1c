rule pretrain:
    input:
        made_from=made_from,
    output:
        directory(plan.checkpoint("{scale}", "{run}", "{seed}")),
    log:
        log_of("pretrain"),
    wildcard_constraints:
        scale=scale_apart_from(PULLED),
        run=trained_here(PRETRAINED),
    priority: 1
    threads: cores("pretrain")
    resources:
        **footprint("pretrain"),
    params:
        digest=digest("pretrain"),
        state=state_of_run,
        budget=budget,
    message:
        "Pretrain {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python -m amd pretrain --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed}"
        " --out {output} --state {params.state} --budget {params.budget} > {log} 2>&1"
