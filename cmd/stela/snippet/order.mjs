import { Kafka } from 'kafkajs'

const kafka = new Kafka({ clientId: 'order-service', brokers: process.env.BROKERS.split(',') })
const producer = kafka.producer()

await producer.connect()
await producer.send({
  topic: 'order-events',
  messages: [{
    value: JSON.stringify({
      orderId: '9827', total: 129.00, status: 'CREATED',
    }),
  }],
})
await producer.disconnect()
