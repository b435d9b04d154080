# Two network stacks, 10.77.0.1 (here) and 10.77.0.2 (process id in $OTHER), on machines whose own names stand for
# 127.0.1.1, as on Debian; then the command.   unshare --net --mount --uts sh two_machines.sh FOLDER COMMAND ...
set -e
folder=$1
shift
printf '127.0.0.1 localhost\n127.0.1.1 debian\n' > "$folder/hosts"
mount --bind "$folder/hosts" /etc/hosts
hostname debian
unshare --net sleep 300 &
OTHER=$!
trap 'kill $OTHER' EXIT
while [ "$(readlink /proc/$OTHER/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add here type veth peer name there netns $OTHER
for side in here there; do
  case $side in here) at= number=1 ;; there) at="nsenter --target $OTHER --net" number=2 ;; esac
  $at ip link set lo up
  $at ip address add 10.77.0.$number/24 dev $side
  $at ip link set $side up
done
export OTHER
"$@"
