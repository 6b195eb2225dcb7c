#!/usr/bin/env bash
# The speed of one node on this machine: Kafka's own perf-test produces, kcat reads back, and the node's CPU seconds are counted.
#
#   tests/bench.sh [ROUNDS]
#
# CPU seconds per GB of the node's process are the steadiest figure; MB/s are mostly the client's.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-2}
records=1000000
dir=$(mktemp -d)
port=$((20000 + RANDOM % 10000))
target/release/weir server --set "log.dirs=$dir/data" --set "weir.http.address=127.0.0.1:$((port + 2))" \
  --set "listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))" \
  --set "controller.quorum.voters=1@127.0.0.1:$((port + 1))" --set node.id=1 2>"$dir/log" &
node=$!
trap 'kill $node 2>/dev/null; wait $node 2>/dev/null; rm -rf "$dir"' EXIT
for _ in $(seq 100); do
  curl -fs "http://127.0.0.1:$((port + 2))/readyz" >/dev/null 2>&1 && break
  sleep 0.1
done

cpu() { awk -v t="$(getconf CLK_TCK)" '{print ($14 + $15) / t}' "/proc/$node/stat"; }
per_gb() { awk -v a="$1" -v b="$2" -v n="$records" 'BEGIN {printf "%.2f", (b - a) / (n * 1000 / 1e9)}'; }

for round in $(seq "$rounds"); do
  before=$(cpu)
  tests/runtimes.sh kafka producer-perf-test --bootstrap-server "127.0.0.1:$port" --topic bench --num-records "$records" \
    --record-size 1000 --throughput -1 --command-property acks=1 --command-property batch.size=131072 --command-property linger.ms=5 | tail -n 1
  after=$(cpu)
  echo "round $round: produce $(per_gb "$before" "$after") CPU s/GB"
  before=$(cpu)
  kcat -b "127.0.0.1:$port" -C -t bench -o "-$records" -c "$records" -e -q >/dev/null
  after=$(cpu)
  echo "round $round: consume $(per_gb "$before" "$after") CPU s/GB"
done
awk '/^(RssAnon|VmHWM)/ {print $1, $2 / 1024, "MiB"}' "/proc/$node/status"
