#!/bin/sh
# Profiles a real engine on the CPU of this machine, plans from the profiles, and says how well the engine model fits it.
#
#   scripts/real-engine/run.sh WORK-FOLDER [BUDGET]
#
# The folder must hold llama.cpp's server as `llama-server` (README.md says how to build it). Takes twice the budget (10 minutes).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$1
budget=${2:-10m}
routerwise=${ROUTERWISE:-routerwise}

if [ ! -f "$work/big.gguf" ]; then
    python3 -m venv "$work/python"
    "$work/python/bin/pip" install -q gguf
    "$work/python/bin/python" "$here/make_model.py" "$work/small.gguf" --layers 4 --hidden 256 --ffn 704 --heads 8 --kv-heads 4
    "$work/python/bin/python" "$here/make_model.py" "$work/big.gguf" --layers 16 --hidden 1024 --ffn 2816 --heads 16 --kv-heads 8 --q8
fi

rm -rf "$work/scenario"
cp -r "$here/scenario" "$work/scenario"
cp "$here/../../scenarios/demo/scores.parquet" "$work/scenario/"

# One model after the other, each started from the shipped template, one thread each.
"$routerwise" profile "$work/scenario" --engine "$here/llama-cpp-cpu.toml" --set "server=$work/llama-server" \
    --weights "small=$work/small.gguf" --weights "big=$work/big.gguf" --budget "$budget" --precision 10%
"$routerwise" profile show "$work/scenario/profiles" --svg "$work/curves.svg"
"$routerwise" plan "$work/scenario"
