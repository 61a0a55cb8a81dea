#!/usr/bin/env bash
# On a machine with a CUDA GPU: check the engine on it, time it and its peers, write one result file.
#   bench/gpu.sh [--dry-run] [--out FILE] [--minutes 8] [--only STEP ...]
# Nothing needs to be installed but Python 3.11, CuPy, NumPy and pydantic; what is missing and can be had from
# a package index within two minutes is put in a temporary folder. --dry-run needs no GPU. See bench/gpu_run.py.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$(command -v python3 || command -v python)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -c 'import sys; assert sys.version_info >= (3, 11), f"Python {sys.version} is too old"' || exit 1

# This checkout, whatever else is installed under its name: its root is the package.
mkdir "$work/link"
ln -s "$(dirname "$here")" "$work/link/overbuilt"
export PYTHONPATH=$work/link:$here${PYTHONPATH:+:$PYTHONPATH}

missing() { "$python" -c 'import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n) is None])' "$@"; }
packages=()
for name in $(missing numpy pydantic click rich); do packages+=("$name"); done
if [ -n "$(missing cupy)" ] && [[ " $* " != *" --dry-run "* ]]; then
  packages+=(cupy-cuda13x "cuda-toolkit[cudart,nvrtc]==13.*")
fi
if [ ${#packages[@]} -gt 0 ]; then
  echo "not here: ${packages[*]}; trying the package index"
  timeout 120 "$python" -m pip install --quiet --disable-pip-version-check --target "$work/packages" "${packages[@]}" \
    || echo "they could not be had: going on without"
  export PYTHONPATH=$PYTHONPATH:$work/packages
fi

"$python" "$here/gpu_run.py" "$@"
