# shellcheck shell=bash
# The environment in .venv: made when there is none, brought up to date when it is not. Sourced by
# scripts/run and scripts/test, at the repository's root. Bash 3.2 will do (macOS).

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# ensure_environment run|dev: fast when nothing changed, it only compares a checksum.
ensure_environment() {
    local purpose="$1"
    if is_current "$purpose"; then return; fi
    trap 'printf "\r" >&2; say "stopped; the same command again goes on from here"; exit 130' INT
    take_turn
    if ! is_current "$purpose"; then set_up "$purpose"; fi
    exec 9<&-
    trap - INT
}

set_up() {
    if ! is_usable; then make_environment; fi
    if ! is_packed; then ensure_pip; fi # it is in the pack, of which the sums are checked first
    rm -f .venv/setup.stamp
    .venv/bin/python -m scripts.setup.install "$1" ||
        die "set-up did not finish; the whole log: .venv/setup.log. The same command again goes on from here"
    printf '%s %s\n' "$(environment_key)" "$1" >.venv/setup.stamp
}

# A service and a terminal may be started at once, and have one .venv. The kernel lets go of the
# lock, which is on this folder, when this shell and the installer that it started have ended,
# however; not of pip, should it outlive both.
take_turn() {
    local status=0
    exec 9<.
    lock_folder -n || status=$?
    if [ "$status" -ne 1 ]; then return; fi # it is ours, or nothing here can lock
    say "another scripts/run or scripts/test sets up .venv here; waiting for it"
    lock_folder || true
}

# lock_folder [-n]: 0 when it is ours, 1 when with -n it is another's. macOS has no flock, but Perl.
lock_folder() {
    if command -v flock >/dev/null 2>&1; then
        flock "$@" 9 2>/dev/null
    else
        perl -e 'use Fcntl ":flock"; open(my $f, "<&=", 9) or exit 2;
            exit(flock($f, LOCK_EX | (@ARGV ? LOCK_NB : 0)) ? 0 : $!{EWOULDBLOCK} ? 1 : 2)' -- "$@" 2>/dev/null
    fi
}

# The stamp says what was installed and for which purpose; "dev" has all that a run needs.
is_current() {
    local key="" purpose=""
    if [ ! -x .venv/bin/edgellm ] || [ ! -f .venv/setup.stamp ]; then return 1; fi
    read -r key purpose <.venv/setup.stamp || return 1
    [ "$key" = "$(environment_key)" ] && { [ "$purpose" = "$1" ] || [ "$purpose" = dev ]; }
}

# Of the dependencies, packed or not, the Python and the place: scripts in .venv/bin hold its path.
environment_key() {
    { cat pyproject.toml .venv/pyvenv.cfg wheels/SHA256SUMS; pwd; } 2>/dev/null | cksum | tr ' ' -
}

# scripts/pack laid wheels/ beside the checkout: all comes from there, nothing from a network.
is_packed() { [ -f wheels/pack.toml ]; }

# "3.12 3.11", the best first.
packed_pythons() { sed -n 's/^pythons = //p' wheels/pack.toml | tr -d '[]",'; }

# Not when its Python is gone, or when it was moved here.
is_usable() {
    suits .venv/bin/python &&
        { [ ! -f .venv/place ] || [ "$(cat .venv/place)" = "$(pwd)" ]; }
}

# Whether it runs, and is new enough, or what was packed for.
suits() {
    if is_packed; then
        # shellcheck disable=SC2046
        "$1" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv)' \
            $(packed_pythons) >/dev/null 2>&1
    else
        "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
    fi
}

make_environment() {
    local python="" words=""
    python="$(find_python)" || python=""
    if [ -d .venv ]; then say ".venv does not work here, it is made anew"; fi
    if is_packed; then
        make_packed_environment "$python"
    elif command -v uv >/dev/null 2>&1; then
        if [ -z "$python" ]; then say "no Python 3.11 or newer here: uv fetches 3.12"; fi
        # Without --seed, which asks the network for a pip: see ensure_pip.
        uv venv --quiet --clear --python "${python:-3.12}" .venv ||
            die "uv could not make .venv; with Python 3.11 or newer on the PATH it need not fetch one"
    elif [ -z "$python" ]; then
        die "edgellm needs Python 3.11 or newer, here is $(python_here). $(python_hint)"
    else
        say "making .venv with $("$python" --version 2>&1)"
        # Its words are kept back: on Ctrl-C they are a traceback.
        words="$("$python" -m venv --clear .venv 2>&1)" || {
            rm -rf .venv
            say "$words"
            die "$python can't make an environment: its venv module is incomplete. $(venv_hint)"
        }
    fi
    pwd >.venv/place
}

# Without pip, which is in the pack: no ensurepip is needed, which Debian keeps in another package.
make_packed_environment() {
    local python="$1"
    if [ -z "$python" ]; then
        die "this was packed for Python $(packed_pythons | sed 's/ / or /g'), here is $(python_here).
Install one of these, or pack for another where there is a network: scripts/pack --python X.Y"
    fi
    say "making .venv with $("$python" --version 2>&1)"
    "$python" -m venv --clear --without-pip .venv >/dev/null 2>&1 || {
        rm -rf .venv
        die "$python can't make an environment: its venv module is missing. $(venv_hint)"
    }
}

# uv's environments lack it, and those made by hand or interrupted may. Python's own copy needs no
# network; Debian keeps it in another package, and then uv can fetch one.
ensure_pip() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 ||
        .venv/bin/python -m ensurepip >/dev/null 2>&1 ||
        uv pip install --quiet --python .venv/bin/python pip >/dev/null 2>&1 ||
        die "the Python in .venv has no pip, and can't get one: rm -rf .venv, then again. $(venv_hint)"
}

# The newest that runs. Each is tried: a shim may stand for a version that is not there.
find_python() {
    local candidate
    # shellcheck disable=SC2046
    for candidate in $(python_names) python3; do
        if suits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    is_packed && uv_python
}

# One that uv fetched once.
uv_python() {
    local version
    command -v uv >/dev/null 2>&1 || return
    for version in $(packed_pythons); do
        uv python find --offline "$version" 2>/dev/null && return
    done
    return 1
}

python_names() {
    if is_packed; then
        packed_pythons | sed 's/[^ ][^ ]*/python&/g'
    else
        printf 'python3.13 python3.12 python3.11'
    fi
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
