// Reads TOPIC in a group with kafkajs until WANTED records were seen, and prints each value on a line.
import kafkajs from 'kafkajs'

const { Kafka, logLevel } = kafkajs

const kafka = new Kafka({ clientId: 'reader', brokers: process.env.BROKERS.split(','), logLevel: logLevel.ERROR })
const consumer = kafka.consumer({ groupId: process.env.GROUP, maxWaitTimeInMs: 200 })
await consumer.connect()
await consumer.subscribe({ topic: process.env.TOPIC, fromBeginning: true })
const wanted = Number(process.env.WANTED)
let seen = 0
await new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error(`saw ${seen} of ${wanted} records in 30 s`)), 30000).unref()
  consumer.on(consumer.events.CRASH, (e) => reject(e.payload.error))
  consumer.run({
    eachMessage: async ({ message }) => {
      console.log(message.value.toString())
      if (++seen === wanted) resolve()
    },
  })
})
await consumer.disconnect()
