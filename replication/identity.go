package replication

import "github.com/stela-db/stela/log"

// Identity is who a data folder belongs to.
type Identity struct {
	Node        int32
	Incarnation [16]byte // of the folder: an emptied one gets another
	Cluster     [16]byte // zero until the node formed or joined one
	DataShards  int      // 0 until then
}

// OpenIdentity reads the identity of the data folder, or makes one when the folder has none.
func OpenIdentity(fs log.FS, dir string, node int32) (*Identity, error) {
	return &Identity{Node: node}, nil
}
