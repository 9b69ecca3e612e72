"""The smoke test of librdkafka: every codec, a group that commits and comes back, and the admin calls.

BROKERS and TOPIC are given; one line of JSON with what was found is printed.
"""
import json
import os
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

BROKERS = os.environ["BROKERS"]
TOPIC = os.environ["TOPIC"]
GROUP = TOPIC + "-group"
PER_CODEC = 40
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
DEADLINE = 40


def must(ok, what):
    if not ok:
        sys.exit(f"librdkafka smoke: {what}")


def produce(config, records):
    failed = []
    producer = Producer({"bootstrap.servers": BROKERS, "acks": "all", **config})
    for key, value in records:
        producer.produce(TOPIC, key=key, value=value, headers=[("h", b"1")], on_delivery=lambda e, _: e and failed.append(e))
    left = producer.flush(DEADLINE)
    must(not failed and left == 0, f"produce with {config}: {failed[:1]}, {left} unanswered")


def consume(wanted):
    """Reads in the group until `wanted` records were seen, commits and leaves."""
    errors = []
    consumer = Consumer({
        "bootstrap.servers": BROKERS, "group.id": GROUP, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "session.timeout.ms": 10000, "heartbeat.interval.ms": 500,
        "error_cb": errors.append, "check.crcs": True,
    })
    consumer.subscribe([TOPIC])
    seen, end = [], time.monotonic() + DEADLINE
    while len(seen) < wanted and time.monotonic() < end:
        for message in consumer.consume(500, 0.2):
            must(message.error() is None, f"consume: {message.error()}")
            seen.append(message.value().decode().split(" ")[0])
    must(len(seen) == wanted, f"saw {len(seen)} of {wanted} records in {DEADLINE} s; {errors[:1]}")
    consumer.commit(asynchronous=False)
    consumer.close()
    return seen


def main():
    admin = AdminClient({"bootstrap.servers": BROKERS})
    admin.create_topics([NewTopic(TOPIC, num_partitions=3, replication_factor=-1)])[TOPIC].result(DEADLINE)
    try:
        admin.create_topics([NewTopic(TOPIC, num_partitions=3, replication_factor=-1)])[TOPIC].result(DEADLINE)
        must(False, "a topic was created twice")
    except confluent_kafka.KafkaException as refused:
        must(refused.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, f"creating a topic twice: {refused}")
    for codec in CODECS:
        produce({"compression.type": codec, "enable.idempotence": codec == "none", "linger.ms": 20},
                [(f"k{i}", f"{codec}-{i} " + "compress me " * 20) for i in range(PER_CODEC)])
    wanted = len(CODECS) * PER_CODEC
    first = consume(wanted)
    must(len(set(first)) == wanted, "the first reading saw a record twice")
    produce({}, [(f"k{i}", f"later-{i}") for i in range(10)])
    second = consume(10)
    must(all(v.startswith("later-") for v in second), f"after coming back the group read {second}")

    reader = Consumer({"bootstrap.servers": BROKERS, "group.id": GROUP})
    committed = reader.committed([TopicPartition(TOPIC, p) for p in range(3)], DEADLINE)
    must(sum(max(p.offset, 0) for p in committed) == wanted + 10, f"committed: {committed}")
    low, high = reader.get_watermark_offsets(TopicPartition(TOPIC, 0), DEADLINE)
    must(low == 0 and high > 0, f"watermarks {low} {high}")
    by_time = reader.offsets_for_times([TopicPartition(TOPIC, p, 0) for p in range(3)], DEADLINE)
    must(all(p.offset == 0 for p in by_time), f"offsets for time 0: {by_time}")
    reader.close()

    resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC)
    configs = admin.describe_configs([resource])[resource].result(DEADLINE)
    must("cleanup.policy" in configs, f"describe_configs: {sorted(configs)}")
    admin.create_partitions([NewPartitions(TOPIC, 4)])[TOPIC].result(DEADLINE)
    must(any(g.id == GROUP for g in admin.list_groups(timeout=DEADLINE)), "list_groups does not name the group")
    if hasattr(admin, "describe_consumer_groups"):
        group = admin.describe_consumer_groups([GROUP])[GROUP].result(DEADLINE)
        must(group.group_id == GROUP, f"describe_consumer_groups: {group}")
        admin.delete_consumer_groups([GROUP])[GROUP].result(DEADLINE)
    gone = TOPIC + "-gone"
    admin.create_topics([NewTopic(gone, num_partitions=1, replication_factor=-1)])[gone].result(DEADLINE)
    admin.delete_topics([gone])[gone].result(DEADLINE)
    must(gone not in admin.list_topics(timeout=DEADLINE).topics, "a deleted topic is listed")
    print(json.dumps({"client": "confluent-kafka %s on librdkafka %s" % (confluent_kafka.version() if isinstance(confluent_kafka.version(), str) else confluent_kafka.version()[0], confluent_kafka.libversion()[0]),
                      "records": wanted + 10}))


main()
