#!/bin/bash
# slurm_down.sh FOLDER [--keep]: end what slurm_up.sh FOLDER started, by its own pid files, and remove FOLDER.
set -uo pipefail
D=$(readlink -m "${1:?usage: slurm_down.sh FOLDER [--keep]}")
[ -e "$D/slurm.conf" ] || exit 0
export SLURM_CONF=$D/slurm.conf
timeout 20 scancel --user="$(id -un)" 2>/dev/null
for _ in $(seq 50); do [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break; sleep 0.2; done
for daemon in slurmd-n1 slurmd-n2 slurmctld slurmdbd mariadbd munged; do
  pid=$(cat "$D/run/$daemon.pid" 2>/dev/null) || continue
  kill "$pid" 2>/dev/null
  for _ in $(seq 75); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
  kill -0 "$pid" 2>/dev/null && { echo "$daemon ($pid) is still there: SIGKILL" >&2; kill -9 "$pid"; }
done
[ "$(readlink /etc/slurm/slurm.conf)" != "$D/slurm.conf" ] || rm /etc/slurm/slurm.conf
[ "${2:-}" = --keep ] || rm -rf "$D"
