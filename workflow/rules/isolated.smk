# Environments of scorers that cannot live beside the rest: one venv each under .envs/, from hashed requirements. Made
# where Snakemake runs, since a node may have no way to a package index; a scorer in one needs the same Python there.
localrules:
    environment,


rule environment:
    output:
        ".envs/{environment}/environment.json",
    log:
        ".envs/{environment}.log",
    wildcard_constraints:
        environment=either(ENVIRONMENTS),
    params:
        recipe=recipe,
    message:
        "Environment of the package {wildcards.environment}: minutes and gigabytes"
    shell:
        "python -m amd environment {wildcards.environment} > {log} 2>&1"
