#!/bin/bash
# slurm_up.sh FOLDER: a Slurm of two nodes on this machine, for tests; all its state below FOLDER, apart from the link /etc/slurm/slurm.conf.
# Needs root and Debian's packages, which it installs when they are missing. slurm_down.sh FOLDER takes it down.
# Exit code 77: cannot run here; the last line of stderr says why.
#
#   partition cpu      n1, n2   at most two days
#   partition gpu      n1       two fake GPUs (gpu:fake:2), at most two days
#   partition wide     n1, n2   two fake GPUs a node
#   partition spare    n1       as gpu; its jobs are stopped and requeued when one of partition gpu needs their place
#
# Nodes claim more CPUs and memory than there are, so that the shipped profile fits.
# Memory is enforced by Slurm's own accounting (JobAcctGatherParams=OverMemoryKill, once a second), not by cgroups:
# a container rarely may make cgroups. A job that is over its limit ends as OUT_OF_MEMORY on most clusters, here as FAILED or CANCELLED.
set -euo pipefail
D=$(readlink -m "${1:?usage: slurm_up.sh FOLDER}")
cannot() { echo "$*" >&2; exit 77; }
[ "$(id -u)" = 0 ] || cannot "the test cluster needs root: slurmd starts jobs as their users"
[ ! -e /etc/slurm/slurm.conf ] || [ -L /etc/slurm/slurm.conf ] && [ ! -e "$(readlink -m /etc/slurm/slurm.conf)" ] ||
  cannot "/etc/slurm/slurm.conf is there: this machine has a Slurm of its own, or a test cluster that slurm_down.sh did not end"
PROGRAMS="slurmctld slurmd slurmdbd munged mariadbd"
if ! command -v $PROGRAMS >/dev/null; then
  command -v apt-get >/dev/null || cannot "no Slurm, and no apt-get to install it with"
  # The packages' own services must not start: they would take the ports, or fail for want of a configuration.
  policy=/usr/sbin/policy-rc.d; made=
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; made=1; }
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -q && apt-get install -y -q --no-install-recommends slurmctld slurmd slurm-client slurmdbd munge mariadb-server; } \
    > /tmp/slurm-install.$$ 2>&1 || { [ -z "$made" ] || rm -f $policy; tail -n 3 /tmp/slurm-install.$$ >&2; cannot "Slurm could not be installed with apt-get"; }
  [ -z "$made" ] || rm -f $policy
  rm -f /tmp/slurm-install.$$
fi
mkdir -p "$D"/{state,spool-n1,spool-n2,log,db,run}; chmod 755 "$D"
HOST=$(hostname -s)
# A fake GPU: any character device will do.
for gpu in 0 1; do [ -e "$D/gpu$gpu" ] || mknod "$D/gpu$gpu" c 1 3 2>/dev/null || cannot "no fake GPUs: mknod is not allowed here"; done
cat > "$D/gres.conf" <<E
NodeName=n[1-2] Name=gpu Type=fake File=$D/gpu[0-1]
E
echo "CgroupAutomount=no" > "$D/cgroup.conf"
cat > "$D/slurm.conf" <<E
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$D/run/munge.sock,cred_expire=10
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,requeue_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
MinJobAge=300
OverTimeLimit=0
ReturnToService=2
SlurmdTimeout=15
BatchStartTimeout=60
SlurmctldPort=16817
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool-%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd-%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStoragePass=$D/run/munge.sock
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
GresTypes=gpu
NodeName=n1 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=16821 CPUs=16 RealMemory=200000 Gres=gpu:fake:2 State=UNKNOWN
NodeName=n2 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=16822 CPUs=16 RealMemory=200000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=cpu Nodes=n1,n2 Default=YES MaxTime=2880 PriorityTier=10 PreemptMode=OFF
PartitionName=gpu Nodes=n1 MaxTime=2880 PriorityTier=10 PreemptMode=OFF
PartitionName=wide Nodes=n1,n2 MaxTime=2880 PriorityTier=10 PreemptMode=OFF
PartitionName=spare Nodes=n1 MaxTime=2880 PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
E
cat > "$D/slurmdbd.conf" <<E
AuthType=auth/munge
AuthInfo=socket=$D/run/munge.sock
DbdHost=localhost
DbdPort=16819
SlurmUser=root
PidFile=$D/run/slurmdbd.pid
LogFile=$D/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageLoc=slurm_acct
StorageUser=root
E
chmod 600 "$D/slurmdbd.conf"
wait_for() {
  local end=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { tail -n 3 "$D"/log/*.log >&2; echo "waited 60 s for: $*" >&2; exit 1; }; sleep 0.2; done
}
# The jobstep plugin drops SLURM_CONF before its inner srun: only this path is always found.
mkdir -p /etc/slurm; ln -sfn "$D/slurm.conf" /etc/slurm/slurm.conf
dd if=/dev/urandom of="$D/munge.key" bs=128 count=1 status=none; chmod 600 "$D/munge.key"
munged --force --key-file="$D/munge.key" --socket="$D/run/munge.sock" --pid-file="$D/run/munged.pid" \
  --log-file="$D/log/munged.log" --seed-file="$D/run/munged.seed"
# MariaDB: a socket and no network, in a folder that goes with the cluster.
[ -d "$D/db/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$D/db" --auth-root-authentication-method=socket \
  --skip-test-db > "$D/log/db-install.log" 2>&1
mariadbd --no-defaults --user=root --datadir="$D/db" --socket="$D/run/db.sock" --pid-file="$D/run/mariadbd.pid" \
  --skip-networking --innodb-buffer-pool-size=64M < /dev/null > "$D/log/mariadbd.log" 2>&1 &
wait_for mariadb-admin --no-defaults --socket="$D/run/db.sock" ping
export MYSQL_UNIX_PORT="$D/run/db.sock" SLURM_CONF="$D/slurm.conf"
slurmdbd
wait_for sacctmgr -n list cluster
sacctmgr -i add cluster test > /dev/null 2>&1 || true
sacctmgr -i add account test Cluster=test > /dev/null
sacctmgr -i add user root Account=test Cluster=test > /dev/null
slurmctld
slurmd -N n1
slurmd -N n2
wait_for sh -c 'test "$(sinfo -h -N -p wide -o %T | grep -c idle)" = 2'
sinfo -o '%P %N %D nodes %c CPUs %m MB %G'
