#!/usr/bin/env bash
# slurm.sh up | down | env     a Slurm cluster on this one machine, for tests; no systemd, nothing listens beyond loopback.
#
#   up     installs Debian's packages where they are missing, writes the configuration, starts munged, slurmctld and one
#          slurmd per node; does nothing for what is running already
#   down   cancels every job, stops what `up` started (by pid file), removes the links in /etc/slurm and the folder
#   env    the line to evaluate in a shell that wants to use it
#
# AMD_SLURM_LAB=/tmp/amd-slurm   configuration, state, logs      AMD_SLURM_NODES=2   nodes n01, n02, ...
# AMD_SLURM_GPUS=8               per node; copies of /dev/null   AMD_SLURM_MODEL=h100
# AMD_SLURM_BUSY=4               CPUs per node that partition `main` gives away; `paper` gives all that a node claims
# AMD_SLURM_ACCOUNTING=1         slurmdbd and mariadb as well, so that sacct answers
#
# Exit code 3: it cannot run here, and stderr says why (tests skip then). Any other failure is 1.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
lab=${AMD_SLURM_LAB:-/tmp/amd-slurm}
busy=${AMD_SLURM_BUSY:-4} nodes=${AMD_SLURM_NODES:-2} gpus=${AMD_SLURM_GPUS:-8} model=${AMD_SLURM_MODEL:-h100} accounting=${AMD_SLURM_ACCOUNTING:-0}
cpus=64 mem_mb=512000                   # what a node claims to have: jobs of scale paper must fit
controller_port=27817 node_port=27900 accounting_port=27819 sql_port=27306
export SLURM_CONF=$lab/etc/slurm.conf

cannot() { echo "no Slurm for tests: $*" >&2; exit 3; }
running() {  # by the pid file, whose number may have become another program's after a machine was stopped
    local name=${1##*/}
    [ -s "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "${name%%.*}" ]
}
within() {  # within SECONDS COMMAND...: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "gave up waiting for: $* (logs: $lab/log)" >&2; return 1; }
        sleep 0.1
    done
}
names() { seq -f 'n%02g' "$nodes"; }

check() {
    [ "$(id -u)" = 0 ] || cannot "slurmd starts jobs as other users and mknod makes the GPUs, so it wants root"
    command -v apt-get >/dev/null || cannot "its packages come from Debian (apt-get is missing)"
    for file in slurm.conf gres.conf; do
        if [ -e "/etc/slurm/$file" ] && [ "$(readlink "/etc/slurm/$file")" != "$lab/etc/$file" ]; then
            cannot "/etc/slurm/$file belongs to another cluster"
        fi
    done
}

install() {
    local wanted=(slurmctld slurmd slurm-client munge) missing=()
    [ "$accounting" = 0 ] || wanted+=(slurmdbd mariadb-server)
    for package in "${wanted[@]}"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q ' installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$lab/log/apt.log" 2>&1 ||
        cannot "apt-get could not install ${missing[*]} ($lab/log/apt.log)"
}

start_munge() {  # an own key and socket: /etc/munge is left alone
    [ -s "$lab/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$lab/munge/key")
    running "$lab/pid/munged" ||
        munged --force --key-file="$lab/munge/key" --seed-file="$lab/munge/seed" --socket="$lab/pid/munge.socket" \
            --pid-file="$lab/pid/munged" --log-file="$lab/log/munged.log" 2>"$lab/log/munged.start"
    within 10 munge -n -S "$lab/pid/munge.socket"
}

configure() {
    # A plain file is no GPU to Slurm ("not a valid character or block device"), and without File= no job is told its
    # devices. A second /dev/null (1, 3) is one.
    for ((i = 0; i < gpus; i++)); do
        [ -c "$lab/gpu/$i" ] || mknod -m 666 "$lab/gpu/$i" c 1 3 || cannot "mknod is forbidden here (a container?)"
    done
    local store="AccountingStorageType=accounting_storage/none"
    [ "$accounting" = 0 ] || store="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$accounting_port
AccountingStoragePass=$lab/pid/munge.socket
AccountingStoreFlags=job_comment"
    cat >"$lab/etc/slurm.conf" <<CONF
ClusterName=amdtest
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$controller_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$lab/pid/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$lab/state
SlurmdSpoolDir=$lab/spool/%n
SlurmctldPidFile=$lab/pid/slurmctld
SlurmdPidFile=$lab/pid/slurmd.%n
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog=$lab/etc/begin
TaskEpilog=$lab/etc/end
MpiDefault=none
ReturnToService=2
# a small machine poses as a large one
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# seconds between SIGTERM and SIGKILL: what a training has to save
KillWait=30
# finished jobs stay visible to squeue that long
MinJobAge=600
# what can never run is refused at once
EnforcePartLimits=ALL
GresTypes=gpu
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
$store
CONF
    local i=0
    for name in $(names); do
        i=$((i + 1))
        echo "NodeName=$name NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((node_port + i)) CPUs=$cpus Boards=1" \
            "SocketsPerBoard=2 CoresPerSocket=$((cpus / 2)) ThreadsPerCore=1 RealMemory=$mem_mb" \
            "Gres=gpu:$model:$gpus State=UNKNOWN" >>"$lab/etc/slurm.conf"
    done
    local all
    all=$(names | paste -sd,)
    cat >>"$lab/etc/slurm.conf" <<CONF
PartitionName=main Nodes=$all Default=YES MaxCPUsPerNode=$busy MaxTime=2-00:00:00 DefaultTime=00:30:00 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=paper Nodes=$all MaxTime=2-00:00:00 DefaultTime=00:30:00 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=scavenge Nodes=$all MaxTime=2-00:00:00 DefaultTime=00:30:00 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
CONF
    echo "NodeName=$all Name=gpu Type=$model File=$lab/gpu/[0-$((gpus - 1))]" >"$lab/etc/gres.conf"
    # Every task of every job step leaves a line when it begins and when it ends: which job, where, on which devices.
    for event in begin end; do
        cat >"$lab/etc/$event" <<HOOK
#!/bin/sh
echo "$event \$(date +%s.%N) \${SLURM_JOB_ID} \${SLURM_STEP_ID:-batch} \${SLURM_PROCID:-0} \${SLURMD_NODENAME:-?}" \\
    "\${CUDA_VISIBLE_DEVICES:--}" >>"$lab/log/tasks"
HOOK
        chmod 755 "$lab/etc/$event"
    done
    : >>"$lab/log/tasks" && chmod 666 "$lab/log/tasks"
    # Snakemake's job step drops SLURM_CONF before its inner srun, which then looks at Debian's own place.
    for file in slurm.conf gres.conf; do ln -sfn "$lab/etc/$file" "/etc/slurm/$file"; done
}

start_accounting() {
    if [ ! -d "$lab/sql/mysql" ]; then
        chown mysql "$lab/sql"
        mariadb-install-db --no-defaults --user=mysql --datadir="$lab/sql" --skip-test-db \
            --auth-root-authentication-method=socket >"$lab/log/sql-install.log" 2>&1
    fi
    mkdir -p "$lab/sql-run" && chown mysql "$lab/sql-run"
    if ! running "$lab/pid/mariadbd"; then
        setsid mariadbd --no-defaults --user=mysql --datadir="$lab/sql" --socket="$lab/sql-run/socket" \
            --bind-address=127.0.0.1 --port="$sql_port" --innodb-buffer-pool-size=64M --skip-name-resolve \
            >"$lab/log/mariadbd.log" 2>&1 </dev/null &
        echo $! >"$lab/pid/mariadbd"
    fi
    local sql=(mariadb --no-defaults --socket="$lab/sql-run/socket")
    within 30 "${sql[@]}" --execute 'select 1'
    local secret
    [ -s "$lab/munge/sql" ] || (umask 077 && head -c 24 /dev/urandom | base64 | tr -d '/+=' >"$lab/munge/sql")
    secret=$(cat "$lab/munge/sql")
    "${sql[@]}" <<SQL
create database if not exists slurm_acct_db;
create user if not exists 'slurm'@'127.0.0.1' identified by '$secret';
grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';
SQL
    (umask 077 && cat >"$lab/etc/slurmdbd.conf") <<CONF
AuthType=auth/munge
AuthInfo=socket=$lab/pid/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$accounting_port
SlurmUser=root
LogFile=$lab/log/slurmdbd.log
PidFile=$lab/pid/slurmdbd
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$sql_port
StorageUser=slurm
StoragePass=$secret
StorageLoc=slurm_acct_db
CONF
    running "$lab/pid/slurmdbd" || slurmdbd
    within 60 sacctmgr --noheader list cluster
    sacctmgr --immediate add cluster amdtest >/dev/null 2>&1 || true  # it may be there
}

all_up() {
    local count
    count=$(sinfo --noheader --partition=main --states=idle,mixed,allocated --format=%D | awk '{ sum += $1 } END { print sum }')
    [ "$count" = "$nodes" ]
}

up() {
    check
    mkdir -p "$lab"/{etc,state,log,pid,munge,spool,gpu,sql} /etc/slurm
    chmod 755 "$lab" "$lab"/* && chmod 700 "$lab/munge"
    install
    start_munge
    configure
    [ "$accounting" = 0 ] || start_accounting
    running "$lab/pid/slurmctld" || slurmctld
    for name in $(names); do running "$lab/pid/slurmd.$name" || slurmd -N "$name"; done
    within 30 scontrol ping
    within 60 all_up
    sinfo
}

stop() {  # stop PIDFILE...: TERM, and KILL after ten seconds
    local file pid
    for file in "$@"; do
        running "$file" || continue
        pid=$(cat "$file")
        kill "$pid"
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
        rm -f "$file"
    done
}

down() {
    if running "$lab/pid/slurmctld"; then
        squeue --noheader --format=%A | sort -u | xargs --no-run-if-empty scancel --signal=KILL --full 2>/dev/null || true
        squeue --noheader --format=%A | sort -u | xargs --no-run-if-empty scancel 2>/dev/null || true
        for _ in $(seq 100); do [ -z "$(squeue --noheader)" ] && break; sleep 0.1; done
    fi
    stop "$lab"/pid/slurmd.n* "$lab/pid/slurmctld" "$lab/pid/slurmdbd" "$lab/pid/mariadbd" "$lab/pid/munged"
    for file in slurm.conf gres.conf; do
        [ "$(readlink "/etc/slurm/$file")" = "$lab/etc/$file" ] && rm "/etc/slurm/$file"
    done
    rm -rf "$lab"
}

case ${1:-} in
    up) up ;;
    down) down ;;
    env) echo "export SLURM_CONF=$SLURM_CONF" ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
esac
