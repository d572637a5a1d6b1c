# Bytes of checkpoints. Who makes one that is not there is `checkpoints: train | pull` (config.yaml or --config), never a
# race of times: under `train` no job pulls, under `pull` no job trains, and neither replaces what the other brought.
# `track` and `pull` never meet: the output of one is the input of the other.
localrules:
    publish,
    track,
    pull,


rule publish:
    input:
        goal("main"),
        tracked("main"),
    log:
        f"results/{SCALE}/logs/publish.log",
    params:
        scale=SCALE,
    message:
        "Publish the main job of scale {params.scale}: results/published/ and dvc.yaml"
    shell:
        "python -m amd publish --scale {params.scale} > {log} 2>&1"


rule track:
    input:
        checkpoint=plan.checkpoint("{scale}", "{run}", "{seed}"),
    output:
        plan.record("{scale}", "{run}", "{seed}"),
    log:
        log_of("track"),
    wildcard_constraints:
        run=trained_here(PRETRAINED + STUDENTS),
    threads: cores("track")
    resources:
        **footprint("track"),
    params:
        digest=digest("track"),
    message:
        "Track {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python -m amd track --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed} > {log} 2>&1"


rule pull:
    input:
        record=published,
    output:
        directory(plan.checkpoint("{scale}", "{run}", "{seed}")),
    log:
        log_of("pull"),
    wildcard_constraints:
        scale=scale_apart_from(TRAINED),
        run=pulled_here(PRETRAINED + STUDENTS),
    threads: cores("pull")
    resources:
        **footprint("pull"),
    params:
        digest=digest("pull"),
        bytes=published_bytes,
    message:
        "Pull {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python -m amd pull --scale {wildcards.scale} --system {wildcards.run} --seed {wildcards.seed} > {log} 2>&1"
