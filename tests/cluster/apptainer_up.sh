#!/usr/bin/env bash
# apptainer_up.sh FOLDER: an Apptainer below FOLDER, from Debian's own package, on Debian 12 as root. The machine's apt sources and
# packages stay as they are, but for a few small tools. Afterwards: source FOLDER/env.sh. Exit code 3: cannot be done here, and why.
set -euo pipefail
folder=$(readlink -m "${1:?usage: apptainer_up.sh FOLDER}")
here=$(dirname "$(readlink -f "$0")")
[ ! -e "$folder/env.sh" ] || exit 0

cannot() { echo "$*" >&2; exit 3; }
[ "$(id -u)" -eq 0 ] || cannot "Apptainer is not installed, and only root can."
[ "$(uname -m)" = x86_64 ] && grep -q 'VERSION_CODENAME=bookworm' /etc/os-release || cannot "Apptainer is not installed, and this is not Debian 12 on x86_64."

missing=()
for pair in mksquashfs:squashfs-tools squashfuse:squashfuse debootstrap:debootstrap newuidmap:uidmap; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" libseccomp2 libsqlite3-0
fi

# The package is in no stable Debian: it is unpacked, not installed, with an apt of its own.
apt=$folder/apt
mkdir -p "$apt"/{lists/partial,cache/archives/partial,parts}
: > "$apt/status"
mirror=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror ${APPTAINER_SUITE:-sid} main" > "$apt/sources.list"
apt_own() {
  apt-get -q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts" \
    -o Dir::Etc::preferencesparts="$apt/parts" -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" \
    -o Dir::State::status="$apt/status" -o APT::Sandbox::User=root "$@"
}
apt_own update
(cd "$apt" && apt_own download apptainer)
dpkg -x "$apt"/apptainer_*.deb "$folder"

# It was built against a newer C library.
library=$folder/usr/lib/x86_64-linux-gnu/apptainer
python3 "$here/old_glibc.py" "$folder/usr/bin/apptainer" "$library/bin/starter" "$library/lib/offsetpreload.so"
# Where the moved programs look for etc and var.
ln -sfn ../etc "$folder/usr/etc"
ln -sfn ../../etc "$folder/usr/lib/etc"
mkdir -p "$folder"/usr/{lib/,}var/lib/apptainer/mnt/session "$folder"/{cache,tmp}

settings=$folder/env.partial
echo "export PATH=$folder/usr/bin:\$PATH APPTAINER_CACHEDIR=$folder/cache APPTAINER_TMPDIR=$folder/tmp" > "$settings"
export PATH=$folder/usr/bin:$PATH
if [ $((0x$(awk '/^CapPrm/{print $2}' /proc/self/status) >> 24 & 1)) -eq 0 ]; then
  # A root without this capability: Apptainer would ask for all of them.
  sed -i 's/^root default capabilities = .*/root default capabilities = file/' "$folder/etc/apptainer/apptainer.conf"
  all=$(apptainer capability avail 2>/dev/null | grep -o '^CAP_[A-Z_]*' | grep -v SYS_RESOURCE | paste -sd,)
  apptainer capability add --user root "$all"
  echo "export APPTAINER_DROP_CAPS=CAP_SYS_RESOURCE" >> "$settings" # for %post of a build
fi
mv "$settings" "$folder/env.sh"
apptainer --version
