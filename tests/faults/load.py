"""The load of tests/faults with librdkafka: an idempotent producer and a member of a group, a line for all they do.

Its standard input ends what runs: "stop" the producer, the end of the input the rest."""
import os
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

BOOTSTRAP, TOPIC, PARTITIONS, PROTOCOL, PER_SECOND = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
# Connections that lead nowhere are given up soon, so that a fault of some seconds is not stretched by its clients.
COMMON = {
    "bootstrap.servers": BOOTSTRAP, "socket.connection.setup.timeout.ms": 1000, "socket.timeout.ms": 5000,
    "reconnect.backoff.max.ms": 500, "topic.metadata.refresh.interval.ms": 5000, "log_level": 2,
}
if os.environ.get("FAULTS_DEBUG"):
    # What of librdkafka, as its `debug` takes it: among the notes of a run that failed.
    COMMON |= {"debug": os.environ["FAULTS_DEBUG"], "log_level": 7}
# The member leaves and comes back now and then, so that the group goes on where it committed, whatever has happened meanwhile.
MEMBER_SECONDS = 10
LOCK = threading.Lock()
STOP_PRODUCING, STOP_READING = threading.Event(), threading.Event()


def say(*words):
    with LOCK:
        print(*words, flush=True)


def produce():
    started, n, life = time.monotonic(), 0, 0
    while not STOP_PRODUCING.is_set():
        name, renew = f"librdkafka.{life}", threading.Event()
        producer = Producer(COMMON | {
            "acks": "all", "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 60000,
            "error_cb": lambda error: (say("note", name, error), renew.set() if error.fatal() else None),
        })

        def delivered(error, message):
            what = (name, message.partition(), message.value().decode())
            if error is None:
                say("acked", *what, *([message.offset()] if message.offset() >= 0 else []))
            elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                say("failed", *what)
            else:
                say("unknown", *what, error)
                if error.fatal():
                    renew.set()

        while not (STOP_PRODUCING.is_set() or renew.is_set()):
            due = started + n / PER_SECOND
            producer.poll(max(0, due - time.monotonic()))
            if time.monotonic() < due:
                continue
            partition, value = n % PARTITIONS, f"{name}-{n}"
            n += 1
            say("sent", name, partition, value)
            try:
                producer.produce(TOPIC, value=value.encode(), partition=partition, on_delivery=delivered)
            except (BufferError, KafkaException) as error:
                say("unknown", name, partition, value, error)
                time.sleep(0.1)
        producer.flush(70)
        life += 1


def commit(consumer, name, positions):
    """What was handed out, if it is still ours."""
    ours = {p.partition for p in consumer.assignment()}
    offsets = [TopicPartition(TOPIC, p, offset) for p, offset in positions.items() if p in ours]
    if not offsets:
        return
    try:
        for done in consumer.commit(offsets=offsets, asynchronous=False):
            if done.error is None:
                say("committed", done.partition, done.offset)
            else:
                say("note", name, "commit:", done.error)
    except KafkaException as error:
        # Its positions stay; the next commit takes these with it.
        say("note", name, "commit:", error)


def consume():
    life = 0
    while not STOP_READING.is_set():
        name, positions = f"librdkafka.{life}", {}
        config = COMMON | {
            "group.id": "faults", "group.protocol": PROTOCOL, "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100, "error_cb": lambda error: say("note", name, error),
        }
        if PROTOCOL == "classic":
            config |= {"session.timeout.ms": 10000, "heartbeat.interval.ms": 1000, "partition.assignment.strategy": "range"}

        def assigned(_, partitions):
            say("assigned", name, *(p.partition for p in partitions))

        def revoked(_, partitions):
            for p in partitions:
                positions.pop(p.partition, None)
            say("revoked", name, *(p.partition for p in partitions))

        consumer = Consumer(config)
        consumer.subscribe([TOPIC], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
        began = committed = time.monotonic()
        try:
            while not STOP_READING.is_set() and time.monotonic() - began < MEMBER_SECONDS:
                message = consumer.poll(0.1)
                if message is not None and message.error():
                    say("note", name, message.error())
                    if message.error().fatal():
                        break
                elif message is not None:
                    say("polled", name, message.partition(), message.offset(), message.value().decode())
                    positions[message.partition()] = message.offset() + 1
                if time.monotonic() - committed > 0.5:
                    commit(consumer, name, positions)
                    committed = time.monotonic()
            commit(consumer, name, positions)
        except KafkaException as error:
            say("note", name, error)
        consumer.close()
        life += 1


def main():
    producer, consumer = threading.Thread(target=produce), threading.Thread(target=consume)
    producer.start()
    consumer.start()
    line = sys.stdin.readline()
    STOP_PRODUCING.set()
    producer.join()
    say("stopped")
    if line:
        sys.stdin.read()
    STOP_READING.set()
    consumer.join()


main()
