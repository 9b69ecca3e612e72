package kafka

// A kind is how one field lies on the wire.
type kind uint8

const (
	kindFixed kind = iota
	kindString
	kindBytes
	kindArray
)

// always ends the versions of a field that is still there in the newest one.
const always = 1<<15 - 1

// never is the nullableFrom of a field that may not be null in any version.
const never = always

// A field is one field of a request's layout.
type field struct {
	kind         kind
	first, last  int16 // versions that have it
	nullableFrom int16 // the first version in which it may be null
	bytes        int   // of a fixed field
	element      []field
	many         bool // an array of more than maxNames: of members, whose number has a limit of its own
}

// The constructors of fields. Names in the layouts are comments: only kmsg needs them.
func fixed(bytes int) field {
	return field{kind: kindFixed, last: always, nullableFrom: never, bytes: bytes}
}
func text() field         { return field{kind: kindString, last: always, nullableFrom: never} }
func nullableText() field { return field{kind: kindString, last: always} }
func blob() field         { return field{kind: kindBytes, last: always, nullableFrom: never} }
func array(element ...field) field {
	return field{kind: kindArray, last: always, nullableFrom: never, element: element}
}

// plain is an array whose elements are no structures: no tags follow each.
func plain(element field) field {
	f := array(element)
	f.bytes = 1
	return f
}

func (f field) from(version int16) field     { f.first = version; return f }
func (f field) until(version int16) field    { f.last = version; return f }
func (f field) ofMembers() field             { f.many = true; return f }
func (f field) nullable(version int16) field { f.nullableFrom = version; return f }

// isPlain tells an array of plain values from one of structures.
func (f *field) isPlain() bool { return f.kind == kindArray && f.bytes == 1 }

func (f *field) in(version int16) bool { return version >= f.first && version <= f.last }

// least returns how many bytes the field takes at least.
func (f *field) least(version int16, flexible bool) int {
	switch {
	case !f.in(version):
		return 0
	case f.kind == kindFixed:
		return f.bytes
	case flexible:
		return 1
	case f.kind == kindString:
		return 2
	}
	return 4
}

// leastElement returns how many bytes one element of an array takes at least; never 0.
func (f *field) leastElement(version int16, flexible bool) int {
	n := 0
	for i := range f.element {
		n += f.element[i].least(version, flexible)
	}
	if flexible && !f.isPlain() {
		n++
	}
	return max(n, 1)
}

// memory returns about how many bytes kmsg allocates for the field itself: all versions' fields are in its structures.
func (f *field) memory() int {
	switch f.kind {
	case kindFixed:
		return max(f.bytes, 8)
	case kindString:
		return 16
	default: // slices
		return 24
	}
}

// memoryElement returns about how many bytes kmsg allocates for one element of an array.
func (f *field) memoryElement() int {
	n := 0
	for i := range f.element {
		n += f.element[i].memory()
	}
	if !f.isPlain() {
		n += 16 // the map of unknown tags, and padding
	}
	return n
}
