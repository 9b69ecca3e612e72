package log

// Every name that this package puts into its folder; segments are named by segment.Name.
const (
	lockName    = "LOCK"    // held while the log is open
	removedName = "removed" // which segments retention removed; two copies, see Stable
)
