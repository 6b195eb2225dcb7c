"""The scenario of tests/clients/README.md with aiokafka."""
import asyncio
import os
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError

BOOTSTRAP = sys.argv[1]
TOPIC, PARTITIONS = "aio", 3
LARGE = os.urandom(1_500_000)


def fail(what):
    print("FAIL:", what, flush=True)
    os._exit(1)


def check(holds, what):
    if not holds:
        fail(what)


async def wait(condition, what):
    deadline = time.time() + 60
    while not condition():
        check(time.time() < deadline, what + ": not within a minute")
        await asyncio.sleep(0.02)
    print("ok:", what, flush=True)


async def ask(word):
    print(word, flush=True)
    check(await asyncio.to_thread(sys.stdin.readline), "the answer to " + word)


async def producer(codec):
    client = AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, compression_type=None if codec == "none" else codec, enable_idempotence=True,
        max_request_size=4_000_000, linger_ms=5)
    await client.start()
    return client


async def send(client, key, value, expected):
    expected.add(key)
    return await client.send(TOPIC, key=key.encode(), value=value, headers=[("of", key.encode())])


async def send_many(client, prefix, expected):
    sent = [await send(client, f"{prefix}-{n}", f"value of {prefix}-{n}".encode(), expected) for n in range(100)]
    await asyncio.gather(*sent)


async def send_slowly(client, prefix, expected):
    """Requests are on their way while the node is killed."""
    sent = []
    for n in range(200):
        key = f"{prefix}-{n}"
        sent.append(await send(client, key, f"value of {key}".encode(), expected))
        await asyncio.sleep(0.002)
    await asyncio.gather(*sent)


class Member(ConsumerRebalanceListener):
    """A member of the group in a task of its own. What it reads it commits at once."""

    def __init__(self, read):
        self.read, self.owned, self.leaves = read, 0, False
        self.task = asyncio.create_task(self.run())
        self.task.add_done_callback(lambda task: task.exception() and fail(repr(task.exception())))

    async def on_partitions_revoked(self, revoked):
        self.owned = 0

    async def on_partitions_assigned(self, assigned):
        self.owned = len(assigned)

    async def run(self):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=BOOTSTRAP, group_id="aio", auto_offset_reset="earliest", enable_auto_commit=False,
            session_timeout_ms=10000, heartbeat_interval_ms=500, fetch_max_wait_ms=50, retry_backoff_ms=50,
            partition_assignment_strategy=[RoundRobinPartitionAssignor])
        consumer.subscribe([TOPIC], listener=self)
        await consumer.start()
        while not self.leaves:
            batches = await consumer.getmany(timeout_ms=50)
            for message in (message for batch in batches.values() for message in batch):
                self.take(message)
            if batches:
                ends = {partition: batch[-1].offset + 1 for partition, batch in batches.items()}
                await self.commit(consumer, ends)
        await consumer.stop()

    async def commit(self, consumer, ends):
        for _ in range(100):
            try:
                return await consumer.commit(ends)
            except KafkaError as error:
                check(error.retriable, f"commit: {error!r}")
                await asyncio.sleep(0.1)
        fail("a commit was never taken")

    def take(self, message):
        key = message.key.decode()
        check(dict(message.headers) == {"of": message.key}, f"headers of {key}")
        if key.endswith("tombstone"):
            check(message.value is None, "a tombstone has no value")
        elif key.endswith("large"):
            check(len(message.value) == len(LARGE), "a large value comes whole")
        else:
            check(message.value == f"value of {key}".encode(), "values")
        check(key not in self.read, f"{key} came twice")
        self.read.add(key)

    async def leave(self):
        self.leaves = True
        await self.task


async def seek_by_time(since_ms):
    consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, fetch_max_wait_ms=50)
    await consumer.start()
    partitions = [TopicPartition(TOPIC, n) for n in range(PARTITIONS)]
    consumer.assign(partitions)
    found = await consumer.offsets_for_times({p: since_ms for p in partitions})
    ends = await consumer.end_offsets(partitions)
    for partition, at in found.items():
        consumer.seek(partition, at.offset)
    left, count = sum(ends[p] - at.offset for p, at in found.items()), 0
    while count < left:
        message = await asyncio.wait_for(consumer.getone(), 30)
        check(message.timestamp >= since_ms, "a record is older than asked for")
        count += 1
    await consumer.stop()
    check(count == 200, f"seek by time found {count} records")


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    topic = NewTopic(TOPIC, PARTITIONS, 1, topic_configs={"max.message.bytes": "4000000"})
    await admin.create_topics([topic])
    await admin.close()
    expected, read = set(), set()
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        client = await producer(codec)
        await send_many(client, codec, expected)
        await (await send(client, f"{codec}-large", LARGE, expected))
        await (await send(client, f"{codec}-tombstone", None, expected))
        await client.stop()
    a, b = Member(read), Member(read)
    await wait(lambda: read >= expected, "two members read everything")
    await wait(lambda: a.owned + b.owned == PARTITIONS and a.owned and b.owned, "they share the partitions")

    client = await producer("lz4")
    await send_many(client, "before", expected)
    underway = asyncio.create_task(send_slowly(client, "during", expected))
    await ask("RESTART")
    await underway
    await asyncio.sleep(0.002)
    restarted_ms = int(time.time() * 1000)
    await send_many(client, "after", expected)
    await wait(lambda: read >= expected, "the group goes on after kill -9")
    c = Member(read)
    await wait(lambda: a.owned == b.owned == c.owned == 1, "a third member gets its share")
    await b.leave()
    await send_many(client, "late", expected)
    await wait(lambda: read >= expected, "the others take over")
    await a.leave()
    await c.leave()
    await client.stop()
    await seek_by_time(restarted_ms)
    check(read == expected, "nothing came that was not sent")
    print("PASS", flush=True)


asyncio.run(main())
