#!/usr/bin/env bash
# What `make setup` does: everything RegionVLP needs, in the checkout's own .venv. Safe to run again at any time.
#   PYTHON  the Python 3.11 to build the environment from (default: python3.11)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3.11}
VENV=.venv
VENV_PYTHON=$VENV/bin/python
STAMP=$VENV/setup-done
INPUTS=(setup.cfg pyproject.toml install/*.*)

DOWNLOAD_HELP="The message above tells which. Cannot reach or find a package: check the network; behind a proxy set \
HTTPS_PROXY, with a mirror of your own PIP_INDEX_URL and UV_INDEX_URL. Hash mismatch: what was downloaded is not what \
the lock names; do not use it, but look at the mirror or cache it came from. No space left: the CUDA build of torch \
wants about 6 GB here and as much in uv's cache."

fail() { # step, what to do
    printf '\nmake setup: FAILED at step "%s".\n  What to do: %s\n  Then run make setup again; finished steps are quick.\n' \
        "$1" "$2" >&2
    exit 1
}

step() { # name, what to do if it fails, command...
    local name=$1 help=$2
    shift 2
    printf '== %s\n' "$name"
    "$@" || fail "$name" "$help"
}

is_python_311() { "$@" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

fingerprint() { # of everything that decides what the environment holds, and of where it lies
    "$VENV_PYTHON" -c 'import hashlib, os, sys
digest = hashlib.sha256(os.getcwd().encode())
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        digest.update(name.encode() + b"\0" + hashlib.sha256(file.read()).digest())
print(digest.hexdigest())' "${INPUTS[@]}"
}

find_media_tools() {
    "$VENV_PYTHON" -c 'import sys
from data_specs import errors, media
try:
    for name in ("ffmpeg", "ffprobe"):
        print(f"{name}: {media.find_tool(name)}")
except errors.InputError as error:
    sys.exit(str(error))'
}

if [ -e "$VENV" ] && ! is_python_311 "$VENV_PYTHON"; then
    fail "virtual environment" "the folder $VENV is here but holds no working Python 3.11; remove it (rm -r $VENV)."
fi
if [ -e "$VENV" ] && [ -e "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ]; then
    echo "setup: up to date"
    exit 0
fi

if ! "$VENV_PYTHON" -m pip --version >/dev/null 2>&1; then
    is_python_311 "$PYTHON" || fail "Python 3.11" \
        "'$PYTHON' is not a Python 3.11; install one and name it: make setup PYTHON=/path/to/python3.11"
    step "virtual environment" "this Python lacks venv or ensurepip (on Debian and Ubuntu: install python3.11-venv)." \
        "$PYTHON" -m venv "$VENV"
fi
rm -f "$STAMP"

step "installer" "$DOWNLOAD_HELP" \
    "$VENV_PYTHON" -m pip install --quiet --disable-pip-version-check --require-hashes -r install/bootstrap.txt
# Compiled here, once: where PYTHONDONTWRITEBYTECODE is set, as in many container images, each command would otherwise
# compile torch and transformers anew, which is half of its start (bench/start.py).
step "dependencies" "$DOWNLOAD_HELP" \
    "$VENV/bin/uv" pip install --python "$VENV_PYTHON" --no-build-isolation --require-hashes --compile-bytecode \
    -r install/requirements.txt
step "detectron2" "$DOWNLOAD_HELP" \
    "$VENV_PYTHON" install/detectron2_wheel.py
step "this checkout" "the message above says what setuptools did not like, most likely in setup.cfg." \
    "$VENV/bin/uv" pip install --python "$VENV_PYTHON" --no-deps --no-build-isolation --editable .
step "ffmpeg and ffprobe" "install ffmpeg with your system's package manager, so that both are on PATH." \
    find_media_tools

fingerprint >"$STAMP"
echo "setup: done"
