#!/usr/bin/env bash
# The programs of others that the tests run against Weir: kcat, Apache Kafka's own tools, clients of five languages.
#
#   tests/runtimes.sh install            installs what is missing, saying what and why
#   tests/runtimes.sh have NAME          exit 0 if NAME (kcat, kafka, a client) can be used
#   tests/runtimes.sh client NAME ARG... runs tests/clients' scenario: java, java-rolling, librdkafka, aiokafka, franz-go, kafkajs
#   tests/runtimes.sh kafka TOOL ARG...  runs one of Kafka's tools, e.g. kafka topics --list ...
#   tests/runtimes.sh kafka-tools        runs many of them in one JVM, as kafka_tools/Driver.java says
#   tests/runtimes.sh kafka-node FILE    formats the log.dirs of a server.properties if they are new, and becomes a Kafka node on it
#   tests/runtimes.sh java ARG...        java with Kafka's jars on its class path
#   tests/runtimes.sh python ARG...      python with the clients of Python
#
# Kafka's jars and the clients' packages come once per machine, into the cache.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

KAFKA_VERSION=${KAFKA_VERSION:-4.3.1}
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
jars=$cache/kafka-$KAFKA_VERSION
clients=$cache/clients

say() { echo "runtimes: $*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install_packages() {
  local want=()
  command -v kcat >/dev/null || want+=(kcat)
  command -v javac >/dev/null || want+=(default-jdk-headless)
  python3 -c 'import venv, ensurepip' 2>/dev/null || want+=(python3-venv)
  command -v go >/dev/null || want+=(golang-go)
  command -v npm >/dev/null || want+=(nodejs npm)
  has_kafka || command -v mvn >/dev/null || want+=(maven)
  # tests/faults cuts links and sets clocks wrong.
  command -v iptables >/dev/null || want+=(iptables)
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || want+=(libfaketime)
  [ "${#want[@]}" = 0 ] && return
  command -v apt-get >/dev/null || { say "please install: ${want[*]}"; exit 1; }
  say "installing ${want[*]}: tests run them against Weir"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${want[@]}" >&2
}

# Of org.apache.kafka, an artifact a line, with what is left out of it. Streams' tests keep their state in memory, so that
# nobody fetches RocksDB for Java: 73 MB, more than all the rest.
kafka_artifacts='kafka_2.13
kafka-tools
kafka-streams org.rocksdb:rocksdbjni
connect-runtime
connect-file
connect-mirror'

has_kafka() { [ "$(cat "$jars/.done" 2>/dev/null)" = "$kafka_artifacts" ]; }

fetch_kafka() {
  has_kafka && return
  say "fetching Apache Kafka $KAFKA_VERSION's jars into $jars"
  mkdir -p "$jars"
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>weir.tests</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>'
    local artifact without
    while read -r artifact without; do
      echo "<dependency><groupId>org.apache.kafka</groupId><artifactId>$artifact</artifactId><version>$KAFKA_VERSION</version>"
      [ -z "$without" ] ||
        echo "<exclusions><exclusion><groupId>${without%:*}</groupId><artifactId>${without#*:}</artifactId></exclusion></exclusions>"
      echo '</dependency>'
    done <<< "$kafka_artifacts"
    echo '<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>'
    echo '</dependencies></project>'
  } > "$jars/pom.xml"
  mvn -q -B -f "$jars/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars/libs" >&2
  echo "$kafka_artifacts" > "$jars/.done"
}

# Each is made anew when its list of packages changes.
fetch_clients() {
  local list
  mkdir -p "$clients"
  list=$here/clients/python/requirements.txt
  if ! cmp -s "$list" "$clients/python/.done"; then
    say "fetching the clients of Python: confluent-kafka, aiokafka"
    python3 -m venv --clear "$clients/python"
    "$clients/python/bin/pip" -q --disable-pip-version-check install -r "$list"
    cp "$list" "$clients/python/.done"
  fi
  list=$here/clients/javascript/package.json
  if ! cmp -s "$list" "$clients/javascript/.done"; then
    say "fetching the client of JavaScript: kafkajs"
    mkdir -p "$clients/javascript"
    cp "$list" "$clients/javascript/"
    (cd "$clients/javascript" && npm install --no-package-lock --ignore-scripts --silent --no-fund --no-audit >&2)
    cp "$list" "$clients/javascript/.done"
  fi
  if ! cat "$here"/clients/go/{go.mod,scenario.go} | cmp -s - "$clients/go/.done"; then
    say "building the client of Go: franz-go"
    mkdir -p "$clients/go"
    if (cd "$here/clients/go" && go build -o "$clients/go/scenario" .); then
      cat "$here"/clients/go/{go.mod,scenario.go} > "$clients/go/.done"
    else
      say "franz-go wants a newer Go than $(go version): its test will be skipped"
    fi
  fi
}

run_client() {
  local name=$1
  shift
  case $name in
    java) jvm "$here/clients/java/Scenario.java" "$@" ;;
    java-rolling) jvm "$here/clients/java/Rolling.java" "$@" ;;
    librdkafka) exec "$clients/python/bin/python" "$here/clients/python/librdkafka.py" "$@" ;;
    aiokafka) exec "$clients/python/bin/python" "$here/clients/python/aio.py" "$@" ;;
    franz-go) exec "$clients/go/scenario" "$@" ;;
    kafkajs) NODE_PATH=$clients/javascript/node_modules exec node "$here/clients/javascript/scenario.js" "$@" ;;
    *) say "no such client: $name"; exit 2 ;;
  esac
}

jvm() {
  exec java ${KAFKA_HEAP:--Xms64m -Xmx384m} ${JVM_TUNING--XX:TieredStopAtLevel=1 -XX:+UseSerialGC} -Xshare:auto \
    -Dorg.slf4j.simpleLogger.defaultLogLevel="${LOGLEVEL:-warn}" -cp "$jars/libs/*" "$@"
}

kafka_tool() {
  local tool=$1 class
  shift
  class=$(sed -n "s/^$tool //p" "$here/kafka_tools/classes.txt")
  [ -n "$class" ] || { say "no such tool: $tool"; exit 2; }
  jvm "$class" "$@"
}

kafka_node() {
  local data
  data=$(sed -n 's/^log\.dirs=//p' "$1")
  [ -e "$data/meta.properties" ] || (jvm kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ -c "$1")
  KAFKA_HEAP=${KAFKA_NODE_HEAP:--Xms256m -Xmx512m} LOGLEVEL=info jvm kafka.Kafka "$1"
}

case ${1:-} in
  install)
    install_packages
    fetch_kafka
    fetch_clients
    ;;
  have)
    case ${2:-} in
      kcat) command -v kcat >/dev/null ;;
      kafka | java | java-rolling) command -v javac >/dev/null && has_kafka ;;
      librdkafka | aiokafka) [ -e "$clients/python/.done" ] ;;
      franz-go) [ -e "$clients/go/.done" ] ;;
      kafkajs) [ -e "$clients/javascript/.done" ] ;;
      *) exit 2 ;;
    esac
    ;;
  kafka) shift; kafka_tool "$@" ;;
  kafka-tools) jvm "$here/kafka_tools/Driver.java" ;;
  kafka-node) kafka_node "$2" ;;
  client) shift; run_client "$@" ;;
  java) shift; jvm "$@" ;;
  python) shift; exec "$clients/python/bin/python" "$@" ;;
  *) sed -n '2,13p' "$0" >&2; exit 2 ;;
esac
