// The smoke test of kafkajs: every codec, a group that commits and comes back, and the admin calls.
// BROKERS and TOPIC are given; one line of JSON with what was found is printed.
import { createRequire } from 'node:module'
import kafkajs from 'kafkajs'
import snappy from 'snappyjs'
import lz4 from 'lz4js'

const { ZstdCodec } = createRequire(import.meta.url)('zstd-codec')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = kafkajs

const brokers = process.env.BROKERS.split(',')
const topic = process.env.TOPIC
const group = topic + '-group'
const perCodec = 40

const zstd = await new Promise((resolve) => ZstdCodec.run((z) => resolve(new z.Simple())))

// Snappy in Kafka's xerial framing: a header, then blocks with their lengths.
const xerial = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])
const unsnappy = (b) => {
  if (!b.subarray(0, 8).equals(xerial.subarray(0, 8))) return Buffer.from(snappy.uncompress(b))
  const blocks = []
  for (let at = 16; at < b.length;) {
    const size = b.readInt32BE(at)
    blocks.push(Buffer.from(snappy.uncompress(b.subarray(at + 4, at + 4 + size))))
    at += 4 + size
  }
  return Buffer.concat(blocks)
}
const codec = (compress, decompress) => () => ({
  compress: async (encoder) => Buffer.from(compress(encoder.buffer)),
  decompress: async (b) => Buffer.from(decompress(b)),
})
CompressionCodecs[CompressionTypes.Snappy] = codec((b) => {
  const block = Buffer.from(snappy.compress(b))
  const size = Buffer.alloc(4)
  size.writeInt32BE(block.length)
  return Buffer.concat([xerial, size, block])
}, unsnappy)
CompressionCodecs[CompressionTypes.LZ4] = codec((b) => lz4.compress(b), (b) => lz4.decompress(b))
CompressionCodecs[CompressionTypes.ZSTD] = codec((b) => zstd.compress(b), (b) => zstd.decompress(b))

const must = (ok, what) => { if (!ok) throw new Error(what) }
const kafka = new Kafka({ clientId: 'smoke', brokers, logLevel: logLevel.ERROR, retry: { retries: 8 } })

const admin = kafka.admin()
await admin.connect()
must(await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 3, replicationFactor: -1 }] }), 'createTopics said the topic was there')
const cluster = await admin.describeCluster()
must(cluster.brokers.length >= 1 && cluster.controller !== null, 'describeCluster: ' + JSON.stringify(cluster))
const metadata = await admin.fetchTopicMetadata({ topics: [topic] })
must(metadata.topics[0].partitions.length === 3, 'fetchTopicMetadata: ' + JSON.stringify(metadata))

const producer = kafka.producer({ allowAutoTopicCreation: false })
await producer.connect()
for (const name of ['None', 'GZIP', 'Snappy', 'LZ4', 'ZSTD']) {
  const messages = []
  for (let i = 0; i < perCodec; i++) {
    messages.push({ key: `k${i}`, value: `${name.toLowerCase()}-${i} ` + 'compress me '.repeat(20), headers: { codec: name } })
  }
  await producer.send({ topic, acks: -1, compression: CompressionTypes[name], messages })
}
const idempotent = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
await idempotent.connect()
for (let i = 0; i < perCodec; i++) {
  await idempotent.send({ topic, messages: [{ key: `k${i}`, value: `idempotent-${i}` }] })
}
await idempotent.disconnect()

// consume reads in the group until it has seen `wanted` records, commits and leaves.
const consume = async (wanted) => {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 10000, heartbeatInterval: 500, maxWaitTimeInMs: 200 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const seen = []
  let enough
  const all = new Promise((resolve, reject) => {
    enough = resolve
    setTimeout(() => reject(new Error(`saw ${seen.length} of ${wanted} records in 40 s`)), 40000).unref()
    consumer.on(consumer.events.CRASH, (e) => reject(e.payload.error))
  })
  const offsets = new Map()
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      seen.push(message.value.toString().split(' ')[0])
      offsets.set(partition, String(BigInt(message.offset) + 1n))
      if (seen.length === wanted) enough()
    },
  })
  await all
  await consumer.commitOffsets([...offsets].map(([partition, offset]) => ({ topic, partition, offset, metadata: 'm' })))
  await consumer.disconnect()
  return seen
}

const first = await consume(6 * perCodec)
must(new Set(first).size === 6 * perCodec, 'the first reading saw a record twice')
const later = []
for (let i = 0; i < 10; i++) later.push({ key: `k${i}`, value: `later-${i}` })
await producer.send({ topic, messages: later })
const second = await consume(10)
must(second.every((v) => v.startsWith('later-')), 'after coming back the group read ' + second.join(' '))
await producer.disconnect()

const described = await admin.describeGroups([group])
must(['Empty', 'Stable'].includes(described.groups[0].state), 'describeGroups: ' + JSON.stringify(described))
const committed = await admin.fetchOffsets({ groupId: group, topics: [topic] })
const sum = committed[0].partitions.reduce((s, p) => s + Number(p.offset), 0)
must(sum === 6 * perCodec + 10, 'fetchOffsets: ' + JSON.stringify(committed))
must(committed[0].partitions.some((p) => p.metadata === 'm'), 'the metadata of the commit was lost')
const unknown = await admin.fetchOffsets({ groupId: group + '-unknown', topics: [topic] })
must(unknown[0].partitions.every((p) => p.offset === '-1'), 'offsets of an unknown group: ' + JSON.stringify(unknown))
await admin.resetOffsets({ groupId: group, topic, earliest: true })
const configs = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
must(configs.resources[0].configEntries.some((e) => e.configName === 'cleanup.policy'), 'describeConfigs: ' + JSON.stringify(configs))
await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'retention.ms', value: '3600000' }] }] })
await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] })
await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '1' }] })
const offsets = await admin.fetchTopicOffsets(topic)
must(offsets.find((p) => p.partition === 0).low === '1', 'fetchTopicOffsets after deleteTopicRecords: ' + JSON.stringify(offsets))
must((await admin.listGroups()).groups.some((g) => g.groupId === group), 'listGroups does not name the group')
await admin.deleteGroups([group])
const gone = topic + '-gone'
await admin.createTopics({ topics: [{ topic: gone, numPartitions: 1 }] })
await admin.deleteTopics({ topics: [gone] })
must(!(await admin.listTopics()).includes(gone), 'a deleted topic is listed')
await admin.disconnect()
console.log(JSON.stringify({ client: 'kafkajs 2.2.4', records: 6 * perCodec + 10 }))
