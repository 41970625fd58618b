#!/bin/sh
# Plays the same load with `routerwise bench` and with aiperf against one emulated engine, in turns, and puts the two side by side.
#
#   scripts/load-generators/run.sh ROUTERWISE AIPERF TOKENIZER OUT [ROUNDS]
#
# The two write different words for their prompts. 114 words of ours are as many tokens for the emulated engine as aiperf's prompts of 200 tokens of its own are
# (with the tokenizer of docs/reference/load-generators.md); the table shows what the engine counted.
#
# ROUTERWISE and AIPERF are the programs, TOKENIZER a local folder with a Hugging Face tokenizer (aiperf writes its prompts with it), OUT a new folder.
set -eu
routerwise=$1 aiperf=$2 tokenizer=$3 out=$4 rounds=${5:-2}
here=$(dirname "$0")
mkdir "$out"

"$routerwise" emulate --model llama-3.1-8b --gpu a100-80gb-sxm --share 20 --port 0 --endpoints "$out/engines.json" > "$out/engine.log" 2>&1 &
engine=$!
trap 'kill $engine' EXIT
n=0
while [ ! -s "$out/engines.json" ]; do
    n=$((n + 1)); [ $n -lt 600 ] || { echo "the engine does not start, see $out/engine.log" >&2; exit 3; }
    sleep 0.1
done
url=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["engines"][0]["url"].removesuffix("/v1"))' "$out/engines.json")

for rate in 1 3; do
    requests=$((rate * 60))
    for round in $(seq "$rounds"); do
        run=$out/$rate-$round
        "$routerwise" bench --endpoint "$url" --model llama-3.1-8b --rate $rate --requests $requests --input-tokens 114 --output-tokens 64 \
            --warm-up 0 --cool-down 0 --seed "$round" --records "$run-routerwise.jsonl" --format json > "$run-routerwise.json" || true
        "$aiperf" profile --model llama-3.1-8b --url "$url" --endpoint-type chat --streaming --tokenizer "$tokenizer" --request-rate $rate \
            --arrival-pattern poisson --request-count $requests --isl 200 --osl 64 --extra-inputs ignore_eos:true --use-server-token-count \
            --random-seed "$round" --output-artifact-dir "$run-aiperf" --ui none > "$run-aiperf.log" 2>&1
    done
done
python3 "$here/table.py" "$out"
