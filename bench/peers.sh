#!/bin/sh
# Makes each peer's own environment below build/peers (or $BIDDABLE_PEERS): about 1.5 GB each, some minutes. Done ones are left alone.
# The same torch everywhere, so that a ratio compares programs and not matrix libraries.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
peers=${BIDDABLE_PEERS:-$root/build/peers}
mkdir -p "$peers"

make_peer() { # name, packages...
    name=$1
    shift
    if [ -e "$peers/$name/done" ]; then return; fi
    echo "$peers/$name: torch==2.13.0 $*"
    "${PYTHON:-python3}" -m venv "$peers/$name"
    "$peers/$name/bin/pip" install -q torch==2.13.0
    "$peers/$name/bin/pip" install -q "$@"
    touch "$peers/$name/done"
}

# The versions of the other packages are those that TRL's own pins chose on the day of the measurements.
# TRL 1.11.0 is the last with PPO, in trl.experimental.ppo.
make_peer trl111 trl==1.11.0 transformers==5.23.0 accelerate==1.15.0 datasets==5.2.0
make_peer trl116 trl==1.16.0 transformers==5.23.0 accelerate==1.15.0 datasets==5.2.0
# lm-evaluation-harness: tests/measure/test_harness.py compares with it.
make_peer lmeval lm-eval==0.4.13 transformers==5.23.0 accelerate==1.15.0 datasets==5.2.0 immutabledict==4.3.1
