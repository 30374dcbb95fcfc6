package raft

// ring is a queue with access by position. It grows by doubling, so a queue in a
// steady state allocates nothing, also one that fills and empties in turns. It gives
// memory back when it was mostly empty all the time between two pops.
type ring[T any] struct {
	buf  []T // its length is zero or a power of two
	head int // position of the first element in buf
	n    int // number of elements
	peak int // largest n since the last pop
}

const (
	ringMin    = 8    // elements of the first buffer
	ringShrink = 1024 // buffers above this length shrink again
)

func (r *ring[T]) len() int { return r.n }

// at returns the element at position i, 0 <= i < len.
func (r *ring[T]) at(i int) *T { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		r.resize(max(ringMin, 2*r.n))
	}
	r.n++
	r.peak = max(r.peak, r.n)
	*r.at(r.n - 1) = v
}

// popFront forgets the first k elements.
func (r *ring[T]) popFront(k int) {
	r.n -= k
	r.head += k
	if r.n == 0 {
		r.head = 0
	} else {
		r.head &= len(r.buf) - 1
	}
	r.shrink()
}

// popBack forgets the last k elements.
func (r *ring[T]) popBack(k int) {
	r.n -= k
	r.shrink()
}

func (r *ring[T]) shrink() {
	length := len(r.buf)
	for length > ringShrink && r.peak < length/8 {
		length /= 4
	}
	if length < len(r.buf) {
		r.resize(length)
	}
	r.peak = r.n
}

func (r *ring[T]) clear() { r.popFront(r.n) }

func (r *ring[T]) resize(length int) {
	buf := make([]T, length)
	for i := range r.n {
		buf[i] = *r.at(i)
	}
	r.buf, r.head = buf, 0
}
