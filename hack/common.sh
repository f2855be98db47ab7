# Sourced by the scripts beside it: what all of them need to say and to find. Needs bash.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=$root/target

# say MESSAGE…: progress, on standard error so that results can be told from it.
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

# die MESSAGE…
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# install_with DEBIAN-PACKAGES FEDORA-PACKAGES: the command that installs them here, for messages.
install_with() {
    if have apt-get; then
        echo "apt-get install -y $1"
    elif have dnf; then
        echo "dnf install -y $2"
    else
        echo "install the packages $1 (Debian's names) or $2 (Fedora's)"
    fi
}

# as_root COMMAND…
as_root() {
    if [ "$(id -u)" = 0 ]; then
        command "$@"
    else
        have sudo || die "this must run as root: $*"
        sudo "$@"
    fi
}

# For a shell that began before rustup was installed.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
