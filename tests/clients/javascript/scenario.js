// The scenario of tests/clients/README.md with kafkajs.
const { Kafka, CompressionTypes, CompressionCodecs, AssignerProtocol, PartitionAssigners, logLevel } = require('kafkajs')
const SnappyCodec = require('kafkajs-snappy')
const crypto = require('node:crypto')
const readline = require('node:readline')

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec

const BOOTSTRAP = process.argv[2]
const TOPIC = 'kafkajs'
const PARTITIONS = 3
const LARGE = crypto.randomBytes(1_500_000)
const kafka = new Kafka({ brokers: [BOOTSTRAP], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 50 } })
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()

function fail(what) {
  console.log('FAIL:', what)
  process.exit(1)
}

function check(holds, what) {
  if (!holds) fail(what)
}

async function wait(condition, what) {
  const deadline = Date.now() + 60_000
  while (!condition()) {
    check(Date.now() < deadline, what + ': not within a minute')
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  console.log('ok:', what)
}

async function ask(word) {
  console.log(word)
  const { done } = await answers.next()
  check(!done, 'the answer to ' + word)
}

async function producer() {
  const client = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await client.connect()
  return client
}

async function send(client, compression, keyed, expected) {
  const messages = keyed.map(([key, value]) => {
    expected.add(key)
    return { key, value, headers: { of: key } }
  })
  await client.send({ topic: TOPIC, acks: -1, compression, messages })
}

const many = prefix => Array.from({ length: 100 }, (_, n) => [`${prefix}-${n}`, `value of ${prefix}-${n}`])

// A member of the group. What it reads it commits at once.
class Member {
  constructor(read) {
    this.read = read
    this.owned = 0
    this.client = kafka.consumer({
      groupId: 'kafkajs', sessionTimeout: 10_000, heartbeatInterval: 500, maxWaitTimeInMs: 50,
      partitionAssigners: [PartitionAssigners.roundRobin],
    })
    this.client.on('consumer.group_join', ({ payload }) => {
      this.owned = (payload.memberAssignment[TOPIC] || []).length
    })
    this.running = this.run().catch(error => fail(String(error)))
  }

  async run() {
    await this.client.connect()
    await this.client.subscribe({ topics: [TOPIC], fromBeginning: true })
    await this.client.run({
      autoCommit: false,
      eachBatch: async ({ batch, resolveOffset, isRunning, isStale }) => {
        for (const message of batch.messages) {
          if (!isRunning() || isStale()) return
          this.take(message)
          resolveOffset(message.offset)
          const offset = String(BigInt(message.offset) + 1n)
          await this.client.commitOffsets([{ topic: TOPIC, partition: batch.partition, offset }])
        }
      },
    })
  }

  take(message) {
    const key = message.key.toString()
    check(message.headers.of.toString() === key, 'headers of ' + key)
    if (key.endsWith('tombstone')) check(message.value === null, 'a tombstone has no value')
    else if (key.endsWith('large')) check(message.value.equals(LARGE), 'a large value comes whole')
    else check(message.value.toString() === 'value of ' + key, 'values')
    check(!this.read.has(key), key + ' came twice')
    this.read.add(key)
  }

  async leave() {
    await this.client.disconnect()
  }
}

async function seekByTime(since) {
  const admin = kafka.admin()
  await admin.connect()
  const found = await admin.fetchTopicOffsetsByTimestamp(TOPIC, since)
  const ends = await admin.fetchTopicOffsets(TOPIC)
  await admin.disconnect()
  const left = found.reduce((sum, at) => sum + Number(ends.find(e => e.partition === at.partition).offset) - Number(at.offset), 0)
  check(left === 200, `seek by time found ${left} records`)
  const consumer = kafka.consumer({ groupId: 'kafkajs-seek', maxWaitTimeInMs: 50 })
  await consumer.connect()
  await consumer.subscribe({ topics: [TOPIC], fromBeginning: true })
  let count = 0
  const run = consumer.run({
    autoCommit: false,
    eachMessage: async ({ message, partition }) => {
      // What was fetched before the seek took effect does not count.
      const at = found.find(one => one.partition === partition)
      if (Number(message.offset) < Number(at.offset)) return
      check(Number(message.timestamp) >= since, 'a record is older than asked for')
      count += 1
    },
  })
  for (const { partition, offset } of found) consumer.seek({ topic: TOPIC, partition, offset })
  await run
  await wait(() => count >= left, 'what was sought by time came')
  await consumer.disconnect()
}

async function main() {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({
    topics: [{ topic: TOPIC, numPartitions: PARTITIONS, configEntries: [{ name: 'max.message.bytes', value: '4000000' }] }],
  })
  await admin.disconnect()
  const [expected, read] = [new Set(), new Set()]
  const all = () => [...expected].every(key => read.has(key))
  for (const [name, codec] of [['none', CompressionTypes.None], ['gzip', CompressionTypes.GZIP], ['snappy', CompressionTypes.Snappy]]) {
    const client = await producer()
    await send(client, codec, many(name), expected)
    await send(client, codec, [[name + '-large', LARGE], [name + '-tombstone', null]], expected)
    await client.disconnect()
  }
  const [a, b] = [new Member(read), new Member(read)]
  await wait(all, 'two members read everything')
  await wait(() => a.owned + b.owned === PARTITIONS && a.owned && b.owned, 'they share the partitions')

  const client = await producer()
  await send(client, CompressionTypes.GZIP, many('before'), expected)
  // A request is on its way while the node is killed.
  const underway = (async () => {
    for (let n = 0; n < 60; n++) {
      await send(client, CompressionTypes.GZIP, [[`during-${n}`, `value of during-${n}`]], expected)
    }
  })()
  await ask('RESTART')
  await underway
  await new Promise(resolve => setTimeout(resolve, 2))
  const restarted = Date.now()
  await send(client, CompressionTypes.GZIP, many('after'), expected)
  await wait(all, 'the group goes on after kill -9')
  const c = new Member(read)
  await wait(() => a.owned === 1 && b.owned === 1 && c.owned === 1, 'a third member gets its share')
  await b.leave()
  await send(client, CompressionTypes.GZIP, many('late'), expected)
  await wait(all, 'the others take over')
  await a.leave()
  await c.leave()
  await client.disconnect()
  await seekByTime(restarted)
  check(read.size === expected.size, 'nothing came that was not sent')
  console.log('PASS')
  process.exit(0)
}

main().catch(error => fail(error.stack))
