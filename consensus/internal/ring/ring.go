// Package ring has the queue that both engines keep their bookkeeping in.
package ring

// Ring is a queue with access by position. It grows by doubling, so a queue in a
// steady state allocates nothing, also one that fills and empties in turns. It gives
// memory back when it was mostly empty all the time between two pops.
type Ring[T any] struct {
	buf  []T // its length is zero or a power of two
	head int // position of the first element in buf
	n    int // number of elements
	peak int // largest n since the last pop
}

const (
	lengthMin    = 8    // elements of the first buffer
	lengthShrink = 1024 // buffers above this length shrink again
)

// Len is the number of elements.
func (r *Ring[T]) Len() int { return r.n }

// Cap is the number of elements that there is memory for.
func (r *Ring[T]) Cap() int { return len(r.buf) }

// At returns the element at position i, 0 <= i < len.
func (r *Ring[T]) At(i int) *T { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

// Push adds an element at the end.
func (r *Ring[T]) Push(v T) {
	if r.n == len(r.buf) {
		r.resize(max(lengthMin, 2*r.n))
	}
	r.n++
	r.peak = max(r.peak, r.n)
	*r.At(r.n - 1) = v
}

// PopFront forgets the first k elements.
func (r *Ring[T]) PopFront(k int) {
	r.n -= k
	r.head += k
	if r.n == 0 {
		r.head = 0
	} else {
		r.head &= len(r.buf) - 1
	}
	r.shrink()
}

// PopBack forgets the last k elements.
func (r *Ring[T]) PopBack(k int) {
	r.n -= k
	r.shrink()
}

func (r *Ring[T]) shrink() {
	length := len(r.buf)
	for length > lengthShrink && r.peak < length/8 {
		length /= 4
	}
	if length < len(r.buf) {
		r.resize(length)
	}
	r.peak = r.n
}

// Clear forgets all elements.
func (r *Ring[T]) Clear() { r.PopFront(r.n) }

func (r *Ring[T]) resize(length int) {
	buf := make([]T, length)
	for i := range r.n {
		buf[i] = *r.At(i)
	}
	r.buf, r.head = buf, 0
}
