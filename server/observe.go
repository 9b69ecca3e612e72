package server

import "github.com/stela-db/stela/internal/metrics"

// observe registers what is read of disk, log, index and memory at each scrape, and
// lets the Kafka front's counters of deleted topics go.
func (s *Server) observe(kafka *metrics.Kafka) {
	s.observeLog()
	var (
		diskFree    = metrics.NewDesc(metrics.KindGauge, "stela_storage_disk_free_bytes", "Free bytes of the data folder's file system.")
		diskTotal   = metrics.NewDesc(metrics.KindGauge, "stela_storage_disk_total_bytes", "Size of the data folder's file system.")
		indexBytes  = metrics.NewDesc(metrics.KindGauge, "stela_index_disk_bytes", "Bytes of the index on disk.")
		indexWrites = metrics.NewDesc(metrics.KindCounter, "stela_index_written_bytes_total", "Bytes written to tables of the index.")
		frameBytes  = metrics.NewDesc(metrics.KindGauge, "stela_frame_pool_bytes", "Memory of the frames in which batches travel, free ones included.")
	)
	s.registry.Observe(func(tell metrics.Tell) {
		// A file system in memory does not know its size.
		if usage, err := s.config.Storage.GetDiskUsage(s.config.Data); err == nil {
			tell(diskFree, float64(usage.AvailBytes))
			tell(diskTotal, float64(usage.TotalBytes))
		}
		tell(indexBytes, float64(s.index.DiskBytes()))
		tell(indexWrites, float64(s.index.WrittenBytes()))
		tell(frameBytes, float64(s.pool.Bytes()))
		view := s.broker.View()
		kafka.Keep(func(topic string) bool { return view.TopicByName(topic) != nil })
	})
}

func (s *Server) observeLog() {
	var (
		written  = metrics.NewDesc(metrics.KindCounter, "stela_log_written_bytes_total", "Bytes written to segments.")
		writes   = metrics.NewDesc(metrics.KindCounter, "stela_log_writes_total", "Write calls to segments.")
		zeroed   = metrics.NewDesc(metrics.KindCounter, "stela_log_zeroed_bytes_total", "Zeros written to segments before their records.")
		direct   = metrics.NewDesc(metrics.KindGauge, "stela_log_direct", "1 when segments are written past the page cache, 0 when through it.")
		syncs    = metrics.NewDesc(metrics.KindCounter, "stela_log_syncs_total", "Syncs of segments; each makes all that was queued durable.")
		syncTime = metrics.NewDesc(metrics.KindCounter, "stela_log_sync_seconds_total", "Time spent in syncs.")
		records  = metrics.NewDesc(metrics.KindCounter, "stela_log_records_total", "Raft entries and markers written.")
		reads    = metrics.NewDesc(metrics.KindCounter, "stela_log_disk_reads_total", "Reads of single entries that were no longer in memory.")
		removed  = metrics.NewDesc(metrics.KindCounter, "stela_log_segments_removed_total", "Segments removed by retention.")
		segments = metrics.NewDesc(metrics.KindGauge, "stela_log_segments", "Segments on disk.")
		queued   = metrics.NewDesc(metrics.KindGauge, "stela_log_queued_records", "Entries that wait to be written.")
		tail     = metrics.NewDesc(metrics.KindGauge, "stela_log_tail_bytes", "Memory of the newest entries.")

		extents       = metrics.NewDesc(metrics.KindCounter, "stela_log_extents_loaded_total", "Reads of about 1 MiB for consumers who are behind.")
		extentBytes   = metrics.NewDesc(metrics.KindCounter, "stela_log_extent_read_bytes_total", "Bytes read from disk in extents.")
		extentHits    = metrics.NewDesc(metrics.KindCounter, "stela_log_extent_hits_total", "Reads of entries that were answered from extents.")
		extentsMemory = metrics.NewDesc(metrics.KindGauge, "stela_log_extent_bytes", "Memory of the extents that are kept for consumers who are behind.")
	)
	s.registry.Observe(func(tell metrics.Tell) {
		stats := s.log.Stats()
		tell(written, float64(stats.BytesWritten))
		tell(writes, float64(stats.Writes))
		tell(zeroed, float64(stats.BytesZeroed))
		if stats.Direct {
			tell(direct, 1)
		} else {
			tell(direct, 0)
		}
		tell(syncs, float64(stats.Syncs))
		tell(syncTime, stats.SyncTime.Seconds())
		tell(records, float64(stats.Records))
		tell(reads, float64(stats.DiskReads))
		tell(removed, float64(stats.SegmentsRemoved))
		tell(segments, float64(stats.Segments))
		tell(queued, float64(stats.QueuedRecords))
		tell(tail, float64(stats.TailBytes))
		tell(extents, float64(stats.Extents.Loaded))
		tell(extentBytes, float64(stats.Extents.Bytes))
		tell(extentHits, float64(stats.Extents.Hits))
		tell(extentsMemory, float64(stats.Extents.Memory))
	})
}
