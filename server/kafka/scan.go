package kafka

// scan walks the body of a request by its layout, before kmsg may read it: every count fits into what is left,
// lengths are those of fields that may have them, tags are few and small, and what decoding will allocate stays
// within memory. It returns about how much that is. A few bytes after the last field are allowed.
func scan(layout []field, body []byte, version int16, flexible bool) (memory int, err error) {
	s := scanner{
		fields:  fields{rest: body, flexible: flexible},
		version: version,
		limit:   min(memoryFloor+memoryFactor*len(body), memoryMost),
	}
	s.structure(layout, 0)
	s.end()
	return s.memory, s.bad
}

// What kmsg keeps for unknown tags: a map, and its entries.
const (
	mapMemory = 384
	tagMemory = 48
)

type scanner struct {
	fields
	version  int16
	memory   int // allocated so far
	limit    int
	elements int // of all arrays so far
}

// structure walks the fields of one structure and the tags that end it.
func (s *scanner) structure(layout []field, depth int) {
	for i := range layout {
		if s.bad != nil {
			return
		}
		if f := &layout[i]; f.in(s.version) {
			s.field(f, depth)
		}
	}
	if s.bad == nil {
		first := mapMemory
		s.tags(func(_ uint32, value []byte) {
			s.allocate(first + tagMemory + len(value))
			first = 0
		})
	}
}

func (s *scanner) field(f *field, depth int) {
	switch f.kind {
	case kindFixed:
		s.take(f.bytes)
	case kindString:
		s.allocate(16 + len(s.nullable(f, s.stringLength())))
	case kindBytes:
		s.nullable(f, s.blobLength())
	case kindArray:
		s.array(f, depth+1)
	}
}

// nullable takes n bytes, or none when n is -1 and the field may be null.
func (s *scanner) nullable(f *field, n int) []byte {
	if n == -1 && s.version >= f.nullableFrom {
		return nil
	}
	return s.take(n)
}

// blobLength takes the length before bytes: -1 for null.
func (s *scanner) blobLength() int {
	if s.flexible {
		return int(int64(s.uvarint()) - 1)
	}
	return int(s.int32())
}

func (s *scanner) array(f *field, depth int) {
	if depth > maxDepth {
		s.fail("arrays %d deep", depth)
		return
	}
	n := s.count(f.leastElement(s.version, s.flexible))
	if s.elements += max(n, 0); s.elements > maxPartitions || depth == 1 && n > maxNames && !f.many {
		s.fail("%d elements", s.elements)
		return
	}
	if n == -1 && s.version < f.nullableFrom {
		s.fail("null where an array must be")
	}
	s.allocate(max(n, 0) * f.memoryElement())
	for range n {
		if s.bad != nil {
			return
		}
		if f.isPlain() {
			s.field(&f.element[0], depth)
		} else {
			s.structure(f.element, depth)
		}
	}
}

func (s *scanner) allocate(bytes int) {
	if s.memory += bytes; s.memory > s.limit {
		s.fail("decoding takes more than %d bytes", s.limit)
	}
}
