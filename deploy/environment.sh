# Sourced by quick-test.sh and run-tests.sh: makes .venv hold this project and its dependencies, once.
#   ensure_environment NAME REQUIREMENT   e.g.  ensure_environment runtime .
# leaves $python set to the environment's interpreter. A stamp of pyproject.toml says when there is nothing to do.

fail() {
    echo "$1" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.11 python3.12 python3.13 python3.14; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and none was found (tried python3, python3.11 to python3.14); \
install one, or name it: PYTHON=/path/to/python3.11 $0"
}

ensure_environment() {
    local name=$1 requirement=$2 base stamp wanted
    python=.venv/bin/python
    stamp=.venv/.stamp-$name
    if [ ! -x "$python" ]; then
        base=$(find_python) || exit 1
        echo "Creating .venv with $("$base" --version 2>&1)"
        "$base" -m venv .venv || fail "the virtual environment cannot be made; is the venv module of $base installed?"
    fi
    wanted=$(cksum < pyproject.toml)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "Installing dependencies into .venv (about a minute the first time)"
        local log=.venv/install.log
        if ! "$python" -m pip install --disable-pip-version-check -e "$requirement" 2>&1 | tee "$log" |
            awk '/^Collecting /{printf "."; fflush()} /^Installing collected/{printf " installing"; fflush()} END{print ""}'; then
            tail -n 15 "$log" >&2
            fail "installing the dependencies failed; the whole output is in $log"
        fi
        echo "$wanted" > "$stamp"
    fi
}
