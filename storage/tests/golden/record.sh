#!/usr/bin/env bash
# Records the logs in this folder with a real Kafka 4.3.1.
#
#   LIBS=<folder of Kafka's jars> ./record.sh
#
# Leaves kafka-4.3.1/clean-0 and kafka-4.3.1/killed-0 as Kafka left them after a stop in order and after kill -9,
# their log dirs' checkpoint files, and what Kafka's dump-log says of them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
libs=${LIBS:?folder of the jars of Kafka 4.3.1}
port=${PORT:-19491}
work=$(mktemp -d)
trap 'kill -9 "$(cat "$work/pid" 2>/dev/null)" 2>/dev/null || true; rm -rf "$work"' EXIT
jvm() { exec java -Xmx512m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$libs/*" "$@"; }

cat > "$work/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
log.dirs=$work/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
log.flush.offset.checkpoint.interval.ms=1000
log.initial.task.delay.ms=1000
PROPERTIES
(jvm kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$work/server.properties") > "$work/format.log"

start() {
  jvm kafka.Kafka "$work/server.properties" > "$work/log" 2>&1 &
  echo $! > "$work/pid"
  for _ in $(seq 600); do (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null && return; sleep 0.1; done
  exit 1
}
keep() { # topic: files that are sparse stay so
  local to=$here/kafka-4.3.1/$1
  rm -rf "$to"; mkdir -p "$to"
  cp -r "$work/data/$1-0" "$to/"
  for f in meta.properties .kafka_cleanshutdown recovery-point-offset-checkpoint log-start-offset-checkpoint replication-offset-checkpoint; do
    if [ -e "$work/data/$f" ]; then cp "$work/data/$f" "$to/"; fi
  done
  (cd "$to" && jvm org.apache.kafka.tools.DumpLogSegments --deep-iteration --skip-record-metadata --files \
    "$(find "$1-0" -name '*.log' -o -name '*.txnindex' -o -name '*.snapshot' | sort | paste -sd,)" > dump.txt 2> /dev/null)
}

start
(jvm "$here/Record.java" "127.0.0.1:$port")
sleep 3
kill -9 "$(cat "$work/pid")"; sleep 1
keep killed
start
sleep 5
kill "$(cat "$work/pid")"
for _ in $(seq 300); do kill -0 "$(cat "$work/pid")" 2>/dev/null || break; sleep 0.1; done
keep clean
du -sk "$here/kafka-4.3.1"
