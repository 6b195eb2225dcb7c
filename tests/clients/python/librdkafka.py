"""The scenario of tests/clients/README.md with confluent-kafka, i.e. librdkafka."""
import os
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP, PROTOCOL = sys.argv[1], sys.argv[2]
TOPIC, PARTITIONS = "librdkafka", 3
LARGE = os.urandom(1_500_000)


def fail(what):
    print("FAIL:", what, flush=True)
    os._exit(1)


def check(holds, what):
    if not holds:
        fail(what)


def wait(condition, what):
    deadline = time.time() + 60
    while not condition():
        check(time.time() < deadline, what + ": not within a minute")
        time.sleep(0.02)
    print("ok:", what, flush=True)


def ask(word):
    print(word, flush=True)
    check(sys.stdin.readline(), "the answer to " + word)


def producer(codec):
    return Producer({
        "bootstrap.servers": BOOTSTRAP, "compression.type": codec, "enable.idempotence": True,
        "message.max.bytes": 4_000_000, "linger.ms": 5,
    })


def delivered(error, _message):
    check(error is None, f"delivery: {error}")


def send(client, key, value, expected):
    expected.add(key)
    client.produce(TOPIC, key=key, value=value, headers=[("of", key.encode()), ("empty", None)], on_delivery=delivered)


def send_many(client, prefix, expected):
    for n in range(100):
        key = f"{PROTOCOL}-{prefix}-{n}"
        send(client, key, f"value of {key}".encode(), expected)


def send_slowly(client, prefix, expected):
    """Requests are on their way while the node is killed."""
    for n in range(200):
        key = f"{PROTOCOL}-{prefix}-{n}"
        send(client, key, f"value of {key}".encode(), expected)
        client.poll(0.002)


class Member:
    """A member of the group in a thread of its own. What it reads it commits at once."""

    def __init__(self, read):
        self.read, self.owned, self.leaves = read, 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        config = {
            "bootstrap.servers": BOOTSTRAP, "group.id": f"librdkafka-{PROTOCOL}", "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "group.protocol": PROTOCOL, "fetch.wait.max.ms": 50,
        }
        if PROTOCOL == "classic":
            config.update({"session.timeout.ms": 10000, "heartbeat.interval.ms": 500})
        consumer = Consumer(config)
        consumer.subscribe([TOPIC])
        while not self.leaves:
            message = consumer.poll(0.05)
            self.owned = len(consumer.assignment())
            if message is None:
                continue
            if message.error():
                # Among them: the node is away for a moment.
                print("note:", message.error(), flush=True)
                continue
            self.take(message)
            self.commit(consumer, message)
        consumer.close()

    def commit(self, consumer, message):
        for _ in range(100):
            try:
                consumer.commit(message=message, asynchronous=False)
                return
            except KafkaException as error:
                retried = (KafkaError._WAIT_COORD, KafkaError._TRANSPORT, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
                           KafkaError.NOT_COORDINATOR, KafkaError._TIMED_OUT, KafkaError.COORDINATOR_NOT_AVAILABLE,
                           KafkaError.STALE_MEMBER_EPOCH)
                check(error.args[0].code() in retried, f"commit: {error}")
                time.sleep(0.1)
        fail("a commit was never taken")

    def take(self, message):
        key = message.key().decode()
        if not key.startswith(PROTOCOL):
            return
        headers = dict(message.headers())
        check(headers == {"of": key.encode(), "empty": None}, f"headers of {key}")
        if key.endswith("tombstone"):
            check(message.value() is None, "a tombstone has no value")
        elif key.endswith("large"):
            check(len(message.value()) == len(LARGE), "a large value comes whole")
        else:
            check(message.value() == f"value of {key}".encode(), "values")
        check(key not in self.read, f"{key} came twice")
        self.read.add(key)

    def leave(self):
        self.leaves = True
        self.thread.join()


def seek_by_time(since_ms):
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "librdkafka-seek", "fetch.wait.max.ms": 50})
    asked = [TopicPartition(TOPIC, n, since_ms) for n in range(PARTITIONS)]
    found = consumer.offsets_for_times(asked, timeout=10)
    ends = {p.partition: consumer.get_watermark_offsets(p, timeout=10)[1] for p in found}
    check(all(0 <= p.offset < ends[p.partition] for p in found), f"offsets by time: {found}")
    consumer.assign(found)
    left, count, deadline = sum(ends[p.partition] - p.offset for p in found), 0, time.time() + 30
    while count < left:
        check(time.time() < deadline, "what was sought by time did not come")
        message = consumer.poll(0.1)
        if message is not None and not message.error():
            check(message.timestamp()[1] >= since_ms, "a record is older than asked for")
            count += 1
    consumer.close()
    check(count == 200, f"seek by time found {count} records")


def main():
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    if TOPIC not in admin.list_topics(timeout=10).topics:
        topic = NewTopic(TOPIC, PARTITIONS, 1, config={"max.message.bytes": "4000000"})
        admin.create_topics([topic])[TOPIC].result()
    expected, read = set(), set()
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        client = producer(codec)
        send_many(client, codec, expected)
        send(client, f"{PROTOCOL}-{codec}-large", LARGE, expected)
        send(client, f"{PROTOCOL}-{codec}-tombstone", None, expected)
        check(client.flush(30) == 0, "everything is delivered")
    a, b = Member(read), Member(read)
    wait(lambda: read >= expected, "two members read everything")
    wait(lambda: a.owned + b.owned == PARTITIONS and a.owned and b.owned, "they share the partitions")

    client = producer("lz4")
    send_many(client, "before", expected)
    check(client.flush(30) == 0, "delivered before the restart")
    underway = threading.Thread(target=send_slowly, args=(client, "during", expected))
    underway.start()
    ask("RESTART")
    underway.join()
    check(client.flush(60) == 0, "delivered during the restart")
    time.sleep(0.002)
    restarted_ms = int(time.time() * 1000)
    send_many(client, "after", expected)
    check(client.flush(60) == 0, "delivered after the restart")
    wait(lambda: read >= expected, "the group goes on after kill -9")
    c = Member(read)
    wait(lambda: a.owned == b.owned == c.owned == 1, "a third member gets its share")
    b.leave()
    send_many(client, "late", expected)
    check(client.flush(30) == 0, "delivered to the rest")
    wait(lambda: read >= expected, "the others take over")
    a.leave()
    c.leave()
    seek_by_time(restarted_ms)
    check(read == expected, "nothing came that was not sent")
    print("PASS", flush=True)


main()
