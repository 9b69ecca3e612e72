//go:build (linux || darwin) && !race

package frame

import (
	"fmt"
	"reflect"
	"sync"

	"golang.org/x/sys/unix"
)

// hugePage is what the system may give in one piece, so that the processor, and whoever pins pages for the disk, has 512 times
// fewer of them to look up.
const hugePage = 2 << 20

// mapped is memory from the system. (Under the race detector, which knows only the runtime's memory, it is that.)
func mapped() source {
	m := &mapping{spare: map[int][][]byte{}}
	return source{largeSlab: hugePage, get: m.get, giveBack: m.giveBack}
}

// A mapping keeps the addresses of what was given back, so that bytes that are read by mistake after that are zeros.
type mapping struct {
	mu    sync.Mutex // guards spare
	spare map[int][][]byte
}

// get returns memory, at a multiple of hugePage if it is large.
func (m *mapping) get(size int, large bool) []byte {
	m.mu.Lock()
	if list := m.spare[size]; len(list) > 0 {
		mem := list[len(list)-1]
		m.spare[size] = list[:len(list)-1]
		m.mu.Unlock()
		return mem
	}
	m.mu.Unlock()
	room := size
	if large {
		room += hugePage
	}
	mem, err := unix.Mmap(-1, 0, room, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil { // as when the runtime's own memory is refused, nothing can go on
		panic(fmt.Sprintf("BUG: more memory than there is: map %d bytes: %v", room, err))
	}
	if !large {
		return mem
	}
	skip := int(-reflect.ValueOf(mem).Pointer() & (hugePage - 1))
	mem = mem[skip : skip+size : skip+size]
	wantHugePages(mem)
	return mem
}

// giveBack lets the system have the pages.
func (m *mapping) giveBack(mem []byte) {
	_ = unix.Madvise(mem, unix.MADV_DONTNEED) // where that is refused they stay, and are used again
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spare[len(mem)] = append(m.spare[len(mem)], mem)
}
