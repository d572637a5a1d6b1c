# Jobs of seconds that go through a profile as the real ones do: what `amd doctor --cluster` submits.
#
# A rule here bears the name of a rule of the workflow and asks for its GPUs, nodes and cores, so that what the profile
# sets for that name counts here too. Memory and time are small: these jobs should not wait long.
import json


include: "rules/common.smk"
include: "rules/parameters.smk"
include: "rules/resources.smk"


HOLDS = "state/selftest/{scale}"


def small(verb):
    """A verb's footprint with little memory and time."""
    return footprint(verb) | dict(mem_mb=8000, runtime=10)


def asked_by(verb, what):
    """A number of a verb's footprint, as a parameter."""

    def number(wildcards):
        return getattr(footprint_of(verb, wildcards.scale), what)

    return number


def twin(wildcards):
    """What the other of the two jobs about devices writes."""
    return expand(HOLDS + "/devices-{part}.json", scale=wildcards.scale, part=1 - int(wildcards.part))[0]


def patience(wildcards, resources):
    """Seconds that one of the two waits for the other: the profile's latency-wait until it has started, and once more
    until what it wrote is seen here; no more than half of its own time."""
    return min(2 * workflow.execution_settings.latency_wait, 30 * resources.runtime)


def elsewhere(wildcards, input, attempt):
    """Another node than the one that wrote; a retry takes any, since there may be no other."""
    if attempt > 1:
        return "--open-mode=append"
    return f"--exclude={json.loads(Path(input.said).read_text())['node']}"


localrules:
    selftest,


rule selftest:
    input:
        expand(HOLDS + "/devices-{part}.json", scale=SCALE, part=[0, 1]),
        expand(HOLDS + "/{check}.json", scale=SCALE, check=["ranks", "read", "requeue"]),


rule sample:
    output:
        HOLDS + "/devices-{part}.json",
    log:
        HOLDS + "/devices-{part}.log",
    threads: cores("sample")
    resources:
        **small("sample"),
    params:
        asked=asked_by("sample", "gpus"),
        twin=twin,
        wait=patience,
    message:
        "The devices of a job like `sample` ({wildcards.part})"
    shell:
        "python -m amd.train.probe devices --asked {params.asked} --twin {params.twin} --wait {params.wait}"
        " --out {output} > {log} 2>&1"


rule distill:
    output:
        HOLDS + "/ranks.json",
    log:
        HOLDS + "/ranks.log",
    threads: cores("distill")
    resources:
        **small("distill"),
    params:
        launcher=launcher("distill"),
        sharding=asked_by("distill", "sharding"),
    message:
        "The ranks of a job like `distill`"
    shell:
        "{params.launcher} -m amd.train.probe ranks --sharding {params.sharding} --out {output} > {log} 2>&1"


rule pretrain:
    output:
        folder=directory(HOLDS + "/checkpoint"),
        said=HOLDS + "/written.json",
    log:
        HOLDS + "/written.log",
    threads: cores("pretrain")
    resources:
        **small("pretrain"),
    message:
        "A checkpoint is written"
    shell:
        "python -m amd.train.probe write --folder {output.folder} --out {output.said} > {log} 2>&1"


rule score:
    input:
        folder=HOLDS + "/checkpoint",
        said=HOLDS + "/written.json",
    output:
        HOLDS + "/read.json",
    log:
        HOLDS + "/read.log",
    threads: cores("score")
    resources:
        **small("score") | dict(slurm_extra=elsewhere),
    message:
        "The checkpoint is read on another node"
    shell:
        "python -m amd.train.probe read --folder {input.folder} --out {output} > {log} 2>&1"


rule plane:
    output:
        HOLDS + "/requeue.json",
    log:
        HOLDS + "/requeue.log",
    threads: cores("plane")
    resources:
        **small("plane"),
    params:
        state=HOLDS + "/requeue",
    message:
        "A job has itself requeued and waits for the signal"
    shell:
        "python -m amd.train.probe requeue --state {params.state} --out {output} > {log} 2>&1"
