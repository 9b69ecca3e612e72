package frame

import "slices"

const (
	// Frames of largeClass and above are cut from slabs of their own kind, see source.
	largeClass = 16 // 64 KiB
	// smallSlab is the size of a slab of smaller ones.
	smallSlab = 256 << 10
	// frameBits is how many bits of a frame's id say which one of its slab it is.
	frameBits = 6
)

// A slab is memory that is cut into frames of one size. The pool's mutex guards it.
type slab struct {
	pool   *Pool
	number uint32
	class  int
	mem    []byte // nil while it has none
	frames []Frame
	free   []*Frame
	at     int // in pool.open[class], -1 when it is not there
}

// A source is where slabs come from.
type source struct {
	largeSlab int // size of a slab of large frames; a frame that is larger has one of its own
	get       func(size int, large bool) []byte
	giveBack  func(mem []byte)
}

// heap is the runtime's memory.
func heap() source {
	return source{
		largeSlab: 1 << largeClass,
		get:       func(size int, _ bool) []byte { return make([]byte, size) },
		giveBack:  func([]byte) {},
	}
}

// slabBytes is how large a slab for frames of a class is.
func (p *Pool) slabBytes(class int) int {
	if class < largeClass {
		return smallSlab
	}
	return max(p.source.largeSlab, 1<<class)
}

// take returns a frame of the class that nobody uses.
func (p *Pool) take(class int) *Frame {
	p.mu.Lock()
	if len(p.open[class]) == 0 {
		size := p.slabBytes(class)
		p.mu.Unlock() // the system may take its time
		mem := p.source.get(size, class >= largeClass)
		p.total.Add(int64(size))
		p.mu.Lock()
		p.cut(class, mem)
	}
	defer p.mu.Unlock()
	s := p.open[class][len(p.open[class])-1]
	if len(s.free) == len(s.frames) {
		p.idle -= int64(len(s.mem))
	}
	f := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	if len(s.free) == 0 {
		p.close(s)
	}
	return f
}

// cut makes a slab of memory, open and unused. p.mu is held.
func (p *Pool) cut(class int, mem []byte) {
	var s *slab
	if n := len(p.spare); n > 0 {
		s = p.slabs[p.spare[n-1]]
		p.spare = p.spare[:n-1]
	} else {
		s = &slab{pool: p, number: uint32(len(p.slabs))}
		p.slabs = append(p.slabs, s)
	}
	size := 1 << class
	s.class, s.mem = class, mem
	s.frames = make([]Frame, len(mem)/size)
	s.free = make([]*Frame, 0, len(s.frames))
	for i := range s.frames {
		f := &s.frames[i]
		f.slab, f.id = s, s.number<<frameBits|uint32(i)
		f.mem = mem[i*size : (i+1)*size : (i+1)*size]
		s.free = append(s.free, f)
	}
	s.at = len(p.open[class])
	p.open[class] = append(p.open[class], s)
	p.idle += int64(len(mem))
}

// close takes a slab out of those that have a free frame. p.mu is held.
func (p *Pool) close(s *slab) {
	open := p.open[s.class]
	last := open[len(open)-1]
	open[s.at], last.at = last, s.at
	open[len(open)-1] = nil
	p.open[s.class] = open[:len(open)-1]
	s.at = -1
}

// give takes a frame back. The memory of a slab that nobody uses any more goes when enough of that kind is kept.
func (p *Pool) give(f *Frame) {
	p.mu.Lock()
	s := f.slab
	if s.at < 0 {
		s.at = len(p.open[s.class])
		p.open[s.class] = append(p.open[s.class], s)
	}
	s.free = append(s.free, f)
	if len(s.free) < len(s.frames) {
		p.mu.Unlock()
		return
	}
	size := int64(len(s.mem))
	if p.idle+size <= p.keepBytes {
		p.idle += size
		p.mu.Unlock()
		return
	}
	mem := p.drop(s)
	p.mu.Unlock()
	p.source.giveBack(mem)
}

// drop takes a slab's memory from it, which is for the caller to give back. p.mu is held.
func (p *Pool) drop(s *slab) []byte {
	mem := s.mem
	p.close(s)
	s.mem, s.frames, s.free = nil, nil, nil
	p.spare = append(p.spare, s.number)
	p.total.Add(-int64(len(mem)))
	return mem
}

// Trim gives back the memory of which nothing is in use.
func (p *Pool) Trim() {
	var unused [][]byte
	p.mu.Lock()
	for class := range p.open {
		for _, s := range slices.Backward(p.open[class]) { // drop moves only those that were looked at
			if len(s.free) == len(s.frames) {
				p.idle -= int64(len(s.mem))
				unused = append(unused, p.drop(s))
			}
		}
	}
	p.mu.Unlock()
	for _, mem := range unused {
		p.source.giveBack(mem)
	}
}
