package kafka_test

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
)

func walkProduce(w *walk) {
	name := w.name(0)
	out := ask(w, w.conn, produceRequest(w.version, name, batch(w, 2000, "more"))).(*kmsg.ProduceResponse)
	p := out.Topics[0].Partitions[0]
	w.code("produce", p.ErrorCode, 0)
	w.want("base offset and log start", p.BaseOffset == 10 && (w.version < 5 || p.LogStartOffset == 0) && p.LogAppendTime == -1, p)
	out = ask(w, w.conn, produceRequest(w.version, name+"-missing", batch(w, 2000, "more"))).(*kmsg.ProduceResponse)
	w.code("a topic that is not there", out.Topics[0].Partitions[0].ErrorCode, 3)
	broken := batch(w, 2000, "broken")
	broken[len(broken)-1] ^= 1
	out = ask(w, w.conn, produceRequest(w.version, name, broken)).(*kmsg.ProduceResponse)
	w.code("wrong crc", out.Topics[0].Partitions[0].ErrorCode, 2)
	out = ask(w, w.conn, produceRequest(w.version, name, batch(w, 2000, string(make([]byte, 2<<20))))).(*kmsg.ProduceResponse)
	w.code("too large", out.Topics[0].Partitions[0].ErrorCode, 10)
	out = ask(w, w.conn, produceRequest(w.version, name, compressed(w, record.CodecZstd))).(*kmsg.ProduceResponse)
	if w.version < 7 {
		w.code("zstd before it was known", out.Topics[0].Partitions[0].ErrorCode, 76)
	} else {
		w.code("zstd", out.Topics[0].Partitions[0].ErrorCode, 0)
	}
	walkKeyless(w, name+"-compacted")
}

// walkKeyless produces a record without a key to a compacted topic: from version 8 on the answer names the record.
func walkKeyless(w *walk, name string) {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.SetVersion(7)
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	topic.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "cleanup.policy", Value: new("compact")}}
	create.Topics = append(create.Topics, topic)
	w.code("create a compacted topic", ask(w, w.conn, create).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode, 0)
	b := record.NewBuilder()
	b.Add(2000, []byte("key"), []byte("with"), nil)
	b.Add(2000, nil, []byte("without"), nil)
	keyless, err := b.AppendBatch(nil, nil)
	if err != nil {
		w.Fatal(err)
	}
	p := ask(w, w.conn, produceRequest(w.version, name, keyless)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	w.code("a record without a key", p.ErrorCode, 87)
	if w.version >= 8 {
		w.want("the record to blame", p.ErrorMessage != nil && len(p.ErrorRecords) == 1 && p.ErrorRecords[0].RelativeOffset == 1 && p.ErrorRecords[0].ErrorMessage != nil, p)
	}
	p = ask(w, w.conn, produceRequest(w.version, name, batch(w, 2000, "with"))).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	w.want("nothing of it was stored", p.ErrorCode == 0 && p.BaseOffset == 0, p)
}

// compressed returns a batch of one record, compressed.
func compressed(w *walk, codec record.Codec) []byte {
	b := record.NewBuilder()
	b.Codec = codec
	b.Add(2000, []byte("key"), []byte("compressed"), nil)
	out, err := b.AppendBatch(nil, new(record.Codecs))
	if err != nil {
		w.Fatal(err)
	}
	return out
}

func (w *walk) fetchRequest(name string, offset int64) *kmsg.FetchRequest {
	in := kmsg.NewPtrFetchRequest()
	in.MaxWaitMillis, in.MinBytes, in.MaxBytes = 100, 1, 1<<20
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = name, w.topicID
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = offset, 1<<20, -1
	topic.Partitions = append(topic.Partitions, p)
	in.Topics = append(in.Topics, topic)
	return in
}

func walkFetch(w *walk) {
	name := w.name(1)
	out := w.ask(w.fetchRequest(name, 4)).(*kmsg.FetchResponse)
	p := out.Topics[0].Partitions[0]
	w.code("fetch", p.ErrorCode, 0)
	// The whole batch that holds offset 4, which begins at 0.
	w.want("records", len(p.RecordBatches) > 61 && p.RecordBatches[7] == 0 && p.HighWatermark == 10 && p.LastStableOffset == 10, p)
	p = w.ask(w.fetchRequest(name, 11)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	w.code("beyond the end", p.ErrorCode, 1)
	p = w.ask(w.fetchRequest(name, 10)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	w.want("at the end", p.ErrorCode == 0 && len(p.RecordBatches) == 0 && p.HighWatermark == 10, p)
	missing := w.fetchRequest(name+"-missing", 0)
	missing.Topics[0].TopicID = [16]byte{1, 2, 3}
	p = w.ask(missing).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	want := int16(3)
	if w.version >= 13 {
		want = 100
	}
	w.code("a topic that is not there", p.ErrorCode, want)
	replica := w.fetchRequest(name, 0)
	replica.ReplicaID, replica.ReplicaState.ID = 2, 2
	p = w.ask(replica).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	w.code("as a replica", p.ErrorCode, 31)
	if w.version >= 7 {
		session := w.fetchRequest(name, 0)
		session.SessionID = 7
		w.code("a session", w.ask(session).(*kmsg.FetchResponse).ErrorCode, 70)
	}
	small := w.fetchRequest(name, 0)
	small.MaxBytes, small.Topics[0].Partitions[0].PartitionMaxBytes = 1, 1
	p = w.ask(small).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	w.want("one batch however small the limit", len(p.RecordBatches) > 61, p)
}

func (w *walk) listOffset(name string, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	in := kmsg.NewPtrListOffsetsRequest()
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = name
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.CurrentLeaderEpoch = timestamp, -1
	topic.Partitions = append(topic.Partitions, p)
	in.Topics = append(in.Topics, topic)
	return w.ask(in).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
}

func walkListOffsets(w *walk) {
	name := w.name(2)
	ask(w, w.conn, produceRequest(7, name, batch(w, 2000, "later")))
	for _, c := range []struct{ timestamp, offset, at int64 }{
		{-1, 11, -1}, {-2, 0, -1}, {500, 0, 1000}, {1000, 0, 1000}, {1001, 10, 2000}, {2001, -1, -1}, {-3, 10, 2000}, {-4, 0, -1}, {-5, -1, -1},
	} {
		p := w.listOffset(name, c.timestamp)
		w.code(fmt.Sprint("timestamp ", c.timestamp), p.ErrorCode, 0)
		w.want(fmt.Sprint("timestamp ", c.timestamp), p.Offset == c.offset && p.Timestamp == c.at, p)
	}
	w.code("a timestamp of no kind", w.listOffset(name, -9).ErrorCode, 35)
	w.code("a topic that is not there", w.listOffset(name+"-missing", -1).ErrorCode, 3)
}

func walkOffsetForLeaderEpoch(w *walk) {
	name := w.name(23)
	ask := func(current, epoch int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
		in := kmsg.NewPtrOffsetForLeaderEpochRequest()
		in.ReplicaID = -1
		topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
		topic.Topic = name
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.CurrentLeaderEpoch, p.LeaderEpoch = current, epoch
		topic.Partitions = append(topic.Partitions, p)
		in.Topics = append(in.Topics, topic)
		return w.ask(in).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
	}
	epoch := w.listOffset0(name)
	p := ask(-1, epoch)
	w.want("the present epoch", p.ErrorCode == 0 && p.LeaderEpoch == epoch && p.EndOffset == 10, p)
	w.code("an older leader", ask(epoch-1, epoch).ErrorCode, 74)
	w.code("a newer leader", ask(epoch+1, epoch).ErrorCode, 75)
	p = ask(-1, epoch+5)
	w.want("an epoch to come", p.ErrorCode == 0 && p.EndOffset == -1 && p.LeaderEpoch == -1 || p.EndOffset == 10, p)
}

// listOffset0 returns the leader epoch of partition 0.
func (w *walk) listOffset0(name string) int32 {
	version := w.version
	w.version = 9
	defer func() { w.version = version }()
	return w.listOffset(name, -1).LeaderEpoch
}

func walkDeleteRecords(w *walk) {
	name := w.name(21)
	ask := func(topic string, offset int64) kmsg.DeleteRecordsResponseTopicPartition {
		in := kmsg.NewPtrDeleteRecordsRequest()
		in.TimeoutMillis = 10_000
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = topic
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Offset = offset
		t.Partitions = append(t.Partitions, p)
		in.Topics = append(in.Topics, t)
		return w.ask(in).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
	}
	p := ask(name, 4)
	w.want("up to 4", p.ErrorCode == 0 && p.LowWatermark == 4, p)
	p = ask(name, -1)
	w.want("up to the end", p.ErrorCode == 0 && p.LowWatermark == 10, p)
	w.code("beyond the end", ask(name, 99).ErrorCode, 1)
	w.code("a topic that is not there", ask(name+"-missing", 1).ErrorCode, 3)
}

func walkInitProducerID(w *walk) {
	in := kmsg.NewPtrInitProducerIDRequest()
	in.TransactionTimeoutMillis = 1000
	first := w.ask(in).(*kmsg.InitProducerIDResponse)
	second := w.ask(in).(*kmsg.InitProducerIDResponse)
	w.want("two ids", first.ErrorCode == 0 && second.ErrorCode == 0 && first.ProducerID >= 0 && second.ProducerID != first.ProducerID && first.ProducerEpoch == 0, first)
	in.TransactionalID = new("transaction")
	w.code("a transactional id", w.ask(in).(*kmsg.InitProducerIDResponse).ErrorCode, 35)
	in.TransactionalID = new("")
	w.code("an empty transactional id", w.ask(in).(*kmsg.InitProducerIDResponse).ErrorCode, 42)
}
