#!/usr/bin/env bash
# A real SLURM on this machine alone, with accounting, for tests/test_slurm.py: munge, MariaDB, slurmdbd, slurmctld and two nodes,
# each said to have 16 cores, 16 GB and 4 GPUs (which nothing opens). Without systemd and cgroups, on 127.0.0.1 only.
#   scripts/slurm.sh install   the packages from apt (root), and Snakemake's plugin into $RTS_SLURM/plugin
#   scripts/slurm.sh start     safe to run again; prints the line that points SLURM's commands and Snakemake to it
#   scripts/slurm.sh stop      ends what it started, by process id
#   scripts/slurm.sh controller-kill | controller-start
# State, configuration and logs lie in $RTS_SLURM (default /tmp/rts-pipeline-slurm).
set -euo pipefail
base=${RTS_SLURM:-/tmp/rts-pipeline-slurm}
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$base/etc/slurm.conf
me=$(id -un) host=$(hostname -s)
nodes="one two"
database=$base/database
plugin=$base/plugin

fail() { echo "slurm: $*" >&2; exit 1; }

running() { # pidfile program
  local pid
  # one that is dead and not reaped yet has no program any more
  pid=$(head -1 "$1" 2>/dev/null | tr -d ' \n') && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] &&
    [ -e "/proc/$pid/exe" ]
}

gone() { ! running "$@"; }

wait_for() { # seconds what command...
  local left=$(($1 * 5)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ $left -gt 0 ] || fail "timed out waiting for $what; see $base/log"
    sleep 0.2
  done
}

configure() {
  mkdir -p "$base"/{etc,run,log,state,munge,spool} "$database"
  chmod 755 "$base" "$base"/{etc,run,log,state,spool}
  chmod 700 "$base/munge"
  cat >"$base/etc/slurm.conf" <<EOF
ClusterName=rts
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
AuthInfo=socket=$base/run/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
# without cgroups sampled memory is the only limit: a job above its --mem is killed
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=26819
AccountingStoragePass=$base/run/munge.socket
AccountingStorageTRES=gres/gpu
# the comment says which job of the workflow it is
AccountingStoreFlags=job_comment
# believe the numbers below also on a smaller machine
SlurmdParameters=config_overrides
# a node that an administrator set down stays so
ReturnToService=1
StateSaveLocation=$base/state
SlurmdSpoolDir=$base/spool/%n
SlurmctldPidFile=$base/run/slurmctld.pid
SlurmdPidFile=$base/run/slurmd.%n.pid
SlurmctldLogFile=$base/log/slurmctld.log
SlurmdLogFile=$base/log/slurmd.%n.log
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=600
KillWait=5
Waittime=0
SlurmctldTimeout=30
SlurmdTimeout=60
MessageTimeout=20
JobRequeue=0
# a job that can never run is refused instead of waiting for ever
EnforcePartLimits=ALL
GresTypes=gpu
NodeName=one,two NodeHostname=$host NodeAddr=127.0.0.1 Port=[27001-27002] CPUs=16 Boards=1 SocketsPerBoard=1 CoresPerSocket=16 ThreadsPerCore=1 RealMemory=16000 Gres=gpu:4 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
EOF
  # each has to be another device file, and none is opened
  for device in null zero full random; do echo "NodeName=one,two Name=gpu File=/dev/$device"; done >"$base/etc/gres.conf"
  (umask 077; cat >"$base/etc/slurmdbd.conf") <<EOF
AuthType=auth/munge
AuthInfo=socket=$base/run/munge.socket
DbdAddr=127.0.0.1
DbdHost=$host
DbdPort=26819
SlurmUser=$me
PidFile=$base/run/slurmdbd.pid
LogFile=$base/log/slurmdbd.log
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=23306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
EOF
  # job steps are started without SLURM_CONF, so the usual place has to lead here too
  mkdir -p /etc/slurm
  for file in slurm.conf gres.conf; do
    [ ! -e /etc/slurm/$file ] || [ -L /etc/slurm/$file ] || fail "/etc/slurm/$file is another cluster's"
    ln -sfn "$base/etc/$file" /etc/slurm/$file
  done
}

start_munge() {
  running "$base/run/munged.pid" munged && return
  [ -s "$base/munge/munge.key" ] || (umask 077; head -c 1024 /dev/urandom >"$base/munge/munge.key")
  rm -f "$base/run/munge.socket" "$base/run/munge.socket.lock"
  munged --key-file="$base/munge/munge.key" --socket="$base/run/munge.socket" --pid-file="$base/run/munged.pid" \
    --log-file="$base/munge/munged.log" --seed-file="$base/munge/munged.seed"
  wait_for 20 munge munge -n -S "$base/run/munge.socket"
}

start_accounting() {
  local admin="mariadb --no-defaults -S $database/socket -u root"
  if ! running "$base/run/mariadbd.pid" mariadbd; then
    chown mysql: "$database"
    [ -d "$database/data/mysql" ] || mariadb-install-db --no-defaults --user=mysql --datadir="$database/data" \
      --auth-root-authentication-method=normal --skip-test-db >"$base/log/mariadb-install.log" 2>&1
    touch "$base/log/mariadbd.log"
    chown mysql: "$base/log/mariadbd.log"
    setsid mariadbd --no-defaults --user=mysql --datadir="$database/data" --socket="$database/socket" \
      --pid-file="$database/pid" --bind-address=127.0.0.1 --port=23306 --innodb-buffer-pool-size=64M \
      --innodb-flush-log-at-trx-commit=0 --skip-log-bin >>"$base/log/mariadbd.log" 2>&1 </dev/null &
    echo $! >"$base/run/mariadbd.pid"
  fi
  wait_for 120 MariaDB $admin -e "SELECT 1"
  $admin -e "CREATE DATABASE IF NOT EXISTS slurm_acct_db;
    CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
    CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';"
  running "$base/run/slurmdbd.pid" slurmdbd || slurmdbd
  wait_for 120 slurmdbd sacctmgr -n list cluster
  sacctmgr -n list cluster format=cluster | grep -qw rts || sacctmgr -i add cluster rts >/dev/null
}

start_controller() {
  running "$base/run/slurmctld.pid" slurmctld || slurmctld -i
  wait_for 60 slurmctld scontrol ping
}

all_up() { [ "$(sinfo -h -N -p cpu -t idle,mixed,allocated -o %N | sort -u | wc -l)" = 2 ]; }

stop_one() { # program pidfile
  running "$2" "$1" || return 0
  local pid
  pid=$(head -1 "$2" | tr -d ' \n')
  kill "$pid"
  for _ in $(seq 100); do
    running "$2" "$1" || break
    sleep 0.1
  done
  ! running "$2" "$1" || kill -9 "$pid"
}

case ${1:-} in
  install)
    if [ "$(command -v slurmctld slurmd slurmdbd munged mariadbd | wc -l)" != 5 ]; then
      [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        fail "install needs root and apt-get, for Debian's slurm-wlm, munge, slurmdbd and mariadb-server"
      apt-get update -qq
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge slurmdbd mariadb-server
    fi
    # not into .venv: with it, and SLURM's commands but no cluster, every start of snakemake waits; what it needs else is there
    [ -d "$plugin" ] || "$(dirname "$0")/../.venv/bin/uv" pip install --quiet --no-deps --compile-bytecode --target "$plugin" \
      'snakemake-executor-plugin-slurm>=2.8,<3' 'snakemake-executor-plugin-slurm-jobstep<1' 'throttler<2'
    ;;
  start)
    configure
    start_munge
    start_accounting
    start_controller
    for node in $nodes; do
      mkdir -p "$base/spool/$node"
      running "$base/run/slurmd.$node.pid" slurmd || slurmd -N "$node"
    done
    wait_for 60 "the nodes" all_up
    echo "export SLURM_CONF=$SLURM_CONF PYTHONPATH=$plugin"
    ;;
  controller-kill)
    running "$base/run/slurmctld.pid" slurmctld || fail "no controller to kill"
    kill -9 "$(cat "$base/run/slurmctld.pid")"
    wait_for 10 "the controller's end" gone "$base/run/slurmctld.pid" slurmctld
    ;;
  controller-start) start_controller ;;
  stop)
    timeout 10 scancel -u "$me" 2>/dev/null || true
    for _ in $(seq 50); do
      [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break
      sleep 0.2
    done
    for node in $nodes; do stop_one slurmd "$base/run/slurmd.$node.pid"; done
    for program in slurmctld slurmdbd mariadbd munged; do stop_one $program "$base/run/$program.pid"; done
    ;;
  *) fail "install, start, stop, controller-kill or controller-start?" ;;
esac
