#!/usr/bin/env bash
# On a machine with a CUDA GPU: check the engine on it, time it and its peers, write one result file.
#   bench/gpu.sh [--dry-run] [--out FILE] [--minutes 8] [--only STEP ...]
# Python 3.11 must be here. What else it needs (bench/gpu_needs.py) and can be had from a package index within three
# minutes is put in a temporary environment; that time is part of --minutes. --dry-run needs no GPU. See bench/gpu_run.py.
set -uo pipefail
SECONDS=0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$(command -v python3 || command -v python)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH=$PATH:/usr/local/cuda/bin

"$python" -c 'import sys; assert sys.version_info >= (3, 11), f"Python {sys.version} is too old"' || exit 1

# This checkout, whatever else is installed under its name: its root is the package.
mkdir "$work/link"
ln -s "$(dirname "$here")" "$work/link/overbuilt"
export PYTHONPATH=$work/link:$here${PYTHONPATH:+:$PYTHONPATH}

# An environment that sees all that $python sees, also where that is of an environment itself, and where CUDA's wheels
# are found: they are looked for in Python's own folders only.
environment() {
  "$python" -m venv --system-site-packages --without-pip "$work/venv" || return 1
  "$python" - "$work/venv" <<'END' && "$work/venv/bin/python" -c pass && python=$work/venv/bin/python
import pathlib, site, sys
folder = next(pathlib.Path(sys.argv[1]).glob("lib/python*/site-packages"))
lines = [f"site.PREFIXES.append({sys.prefix!r})", *(f"site.addsitedir({p!r})" for p in site.getsitepackages([sys.prefix]))]
(folder / "parent.pth").write_text("".join(f"import site; {line}\n" for line in lines))
END
}
install() { # seconds, packages
  echo "not here: ${*:2}; trying the package index"
  timeout "$1" "$python" -m pip install --quiet --disable-pip-version-check --retries 0 --timeout 10 "${@:2}" \
    || echo "they could not be had: going on without"
}
if [[ " $* " == *" --dry-run "* ]]; then kinds=(dry); else kinds=(needed wanted); fi
for kind in "${kinds[@]}"; do
  mapfile -t packages < <("$python" "$here/gpu_needs.py" "$kind")
  if [ ${#packages[@]} -gt 0 ] && { [ -d "$work/venv" ] || environment; }; then
    install 90 "${packages[@]}"
  fi
done

export OVERBUILT_BENCH_SPENT=$SECONDS
"$python" "$here/gpu_run.py" "$@"
