# shellcheck shell=bash
# The environment in .venv: made when there is none, brought up to date when it is not. Sourced by
# scripts/run and scripts/test, at the repository's root. Bash 3.2 will do (macOS).

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# ensure_environment [EXTRA]: fast when nothing changed, it only compares a checksum.
ensure_environment() {
    local extra="${1:-}"
    if is_current "$extra"; then return; fi
    if ! is_usable; then make_environment; fi
    rm -f .venv/setup.stamp
    .venv/bin/python -m scripts.setup.install ${extra:+"$extra"} ||
        die "set-up did not finish; the whole log: .venv/setup.log"
    printf '%s %s\n' "$(environment_key)" "$extra" >.venv/setup.stamp
}

# The stamp names what was installed and for which extra; "dev" has all that a run needs.
is_current() {
    local stamp=""
    if [ ! -x .venv/bin/edgellm ] || [ ! -f .venv/setup.stamp ]; then return 1; fi
    read -r stamp <.venv/setup.stamp
    [ "$stamp" = "$(environment_key) ${1:-}" ] || [ "$stamp" = "$(environment_key) dev" ]
}

# Of the dependencies, the Python and the place: scripts in .venv/bin hold its path.
environment_key() {
    { cat pyproject.toml .venv/pyvenv.cfg && pwd; } 2>/dev/null | cksum | tr ' ' -
}

# False too for one that was interrupted, whose Python is gone, or that was moved here.
is_usable() {
    [ -x .venv/bin/python ] &&
        .venv/bin/python -m pip --version >/dev/null 2>&1 &&
        { [ ! -f .venv/place ] || [ "$(cat .venv/place)" = "$(pwd)" ]; }
}

make_environment() {
    local python=""
    python="$(find_python)" || python=""
    rm -rf .venv
    if command -v uv >/dev/null 2>&1; then
        if [ -z "$python" ]; then say "no Python 3.11 or newer here: uv fetches 3.12"; fi
        uv venv --quiet --seed --python "${python:-3.12}" .venv ||
            die "uv could not make .venv; with Python 3.11 or newer on the PATH it need not fetch one"
    elif [ -z "$python" ]; then
        die "edgellm needs Python 3.11 or newer, here is $(python_here). $(python_hint)"
    else
        say "making .venv with $("$python" --version 2>&1)"
        "$python" -m venv .venv >&2 || {
            rm -rf .venv
            die "$python can't make an environment: its venv module is incomplete. $(venv_hint)"
        }
    fi
    pwd >.venv/place
}

# The newest that runs. Each is tried: a shim may stand for a version that is not there.
find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

python_here() {
    python3 -c 'import platform; print("Python " + platform.python_version())' 2>/dev/null ||
        printf 'none'
}

python_hint() {
    printf 'Install uv (https://docs.astral.sh/uv), which fetches one, or: '
    case "$(package_manager)" in
        apt) printf 'sudo apt install python3.11 python3.11-venv' ;;
        dnf) printf 'sudo dnf install python3.12' ;;
        apk) printf 'apk add python3' ;;
        brew) printf 'brew install python@3.12' ;;
        *) printf 'a newer Python from your distribution' ;;
    esac
}

venv_hint() {
    if [ "$(package_manager)" = apt ]; then
        printf 'Get it: sudo apt install python3-venv'
    else
        printf 'Reinstall Python with its ensurepip module, or install uv'
    fi
}

package_manager() {
    local name
    for name in apt dnf apk brew; do
        if command -v "$name" >/dev/null 2>&1; then
            printf '%s' "$name"
            return
        fi
    done
}
