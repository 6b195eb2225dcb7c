#!/usr/bin/env bash
# The programs of others that the tests run against Weir: kcat, and Apache Kafka's own tools.
#
#   tests/runtimes.sh install            installs what is missing, saying what and why
#   tests/runtimes.sh have NAME          exit 0 if NAME (kcat, kafka) can be used
#   tests/runtimes.sh kafka TOOL ARG...  runs one of Kafka's tools, e.g. kafka topics --list ...
#   tests/runtimes.sh java ARG...        java with Kafka's jars on its class path
#
# Kafka's jars come from Maven Central once per machine, into the cache.
set -euo pipefail

KAFKA_VERSION=${KAFKA_VERSION:-4.3.1}
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
jars=$cache/kafka-$KAFKA_VERSION

say() { echo "runtimes: $*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install_packages() {
  local want=()
  command -v kcat >/dev/null || want+=(kcat)
  command -v java >/dev/null || want+=(default-jre-headless)
  [ -e "$jars/.done" ] || command -v mvn >/dev/null || want+=(maven)
  [ "${#want[@]}" = 0 ] && return
  command -v apt-get >/dev/null || { say "please install: ${want[*]}"; exit 1; }
  say "installing ${want[*]}: tests run them against Weir"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${want[@]}" >&2
}

fetch_kafka() {
  [ -e "$jars/.done" ] && return
  say "fetching Apache Kafka $KAFKA_VERSION's jars into $jars"
  mkdir -p "$jars"
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>weir.tests</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>'
    local artifact
    for artifact in kafka_2.13 kafka-tools; do
      echo "<dependency><groupId>org.apache.kafka</groupId><artifactId>$artifact</artifactId><version>$KAFKA_VERSION</version></dependency>"
    done
    echo '<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>'
    echo '</dependencies></project>'
  } > "$jars/pom.xml"
  mvn -q -B -f "$jars/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars/libs" >&2
  touch "$jars/.done"
}

jvm() {
  exec java ${KAFKA_HEAP:--Xms64m -Xmx384m} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto \
    -Dorg.slf4j.simpleLogger.defaultLogLevel="${LOGLEVEL:-warn}" -cp "$jars/libs/*" "$@"
}

kafka_tool() {
  local tool=$1
  shift
  case $tool in
    topics) jvm org.apache.kafka.tools.TopicCommand "$@" ;;
    console-producer) jvm org.apache.kafka.tools.ConsoleProducer "$@" ;;
    console-consumer) jvm org.apache.kafka.tools.consumer.ConsoleConsumer "$@" ;;
    producer-perf-test) jvm org.apache.kafka.tools.ProducerPerformance "$@" ;;
    get-offsets) jvm org.apache.kafka.tools.GetOffsetShell "$@" ;;
    dump-log) jvm org.apache.kafka.tools.DumpLogSegments "$@" ;;
    broker-api-versions) jvm org.apache.kafka.tools.BrokerApiVersionsCommand "$@" ;;
    configs) jvm kafka.admin.ConfigCommand "$@" ;;
    consumer-groups) jvm org.apache.kafka.tools.consumer.group.ConsumerGroupCommand "$@" ;;
    consumer-perf-test) jvm org.apache.kafka.tools.ConsumerPerformance "$@" ;;
    delete-records) jvm org.apache.kafka.tools.DeleteRecordsCommand "$@" ;;
    log-dirs) jvm org.apache.kafka.tools.LogDirsCommand "$@" ;;
    client-metrics) jvm org.apache.kafka.tools.ClientMetricsCommand "$@" ;;
    leader-election) jvm org.apache.kafka.tools.LeaderElectionCommand "$@" ;;
    reassign-partitions) jvm org.apache.kafka.tools.reassign.ReassignPartitionsCommand "$@" ;;
    transactions) jvm org.apache.kafka.tools.TransactionsCommand "$@" ;;
    verifiable-producer) jvm org.apache.kafka.tools.VerifiableProducer "$@" ;;
    verifiable-consumer) jvm org.apache.kafka.tools.VerifiableConsumer "$@" ;;
    features) jvm org.apache.kafka.tools.FeatureCommand "$@" ;;
    metadata-quorum) jvm org.apache.kafka.tools.MetadataQuorumCommand "$@" ;;
    *) say "no such tool: $tool"; exit 2 ;;
  esac
}

case ${1:-} in
  install)
    install_packages
    fetch_kafka
    ;;
  have)
    case ${2:-} in
      kcat) command -v kcat >/dev/null ;;
      kafka) command -v java >/dev/null && [ -e "$jars/.done" ] ;;
      *) exit 2 ;;
    esac
    ;;
  kafka) shift; kafka_tool "$@" ;;
  java) shift; jvm "$@" ;;
  *) sed -n '2,10p' "$0" >&2; exit 2 ;;
esac
