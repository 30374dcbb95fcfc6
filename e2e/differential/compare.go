package differential

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// leaseMap maps lease ids of the reference to those of the server under test.
// Ids chosen by a client are equal on both and need no entry.
type leaseMap struct {
	toTest map[int64]int64
}

func newLeaseMap() *leaseMap { return &leaseMap{toTest: make(map[int64]int64)} }

// learn records that both servers generated an id for the same grant.
func (l *leaseMap) learn(reference, test int64) { l.toTest[reference] = test }

func (l *leaseMap) test(reference int64) int64 {
	if id, ok := l.toTest[reference]; ok {
		return id
	}
	return reference
}

// compareMessages returns "" if both answers are equal as far as notCompared
// says they must be, else where they differ and how (keeps I1).
func compareMessages(want, got proto.Message, leases *leaseMap) string {
	if (want == nil) != (got == nil) {
		return fmt.Sprintf("one side has no message: want %v, got %v", want, got)
	}
	if want == nil {
		return ""
	}
	w, g := want.ProtoReflect(), got.ProtoReflect()
	if w.Descriptor() != g.Descriptor() {
		return fmt.Sprintf("message type: want %s, got %s", w.Descriptor().FullName(), g.Descriptor().FullName())
	}
	return compareMessage(string(w.Descriptor().Name()), w, g, leases)
}

func compareMessage(path string, w, g protoreflect.Message, leases *leaseMap) string {
	fields := w.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if d := compareField(path+"."+string(fd.Name()), fd, w, g, leases); d != "" {
			return d
		}
	}
	if !bytes.Equal(w.GetUnknown(), g.GetUnknown()) {
		return fmt.Sprintf("%s: unknown fields: want %x, got %x", path, w.GetUnknown(), g.GetUnknown())
	}
	return ""
}

func compareField(path string, fd protoreflect.FieldDescriptor, w, g protoreflect.Message, leases *leaseMap) string {
	treat, excused := treatments[fd.FullName()]
	if excused && treat == ignored {
		return ""
	}
	if fd.IsList() {
		return compareLists(path, fd, treat, excused, w.Get(fd).List(), g.Get(fd).List(), leases)
	}
	if w.Has(fd) != g.Has(fd) && (!excused || treat == samePresence) {
		return fmt.Sprintf("%s: want %s, got %s", path, show(fd, w), show(fd, g))
	}
	if excused && treat == samePresence {
		return ""
	}
	return compareValues(path, fd, treat, excused, w.Get(fd), g.Get(fd), leases)
}

func compareValues(path string, fd protoreflect.FieldDescriptor, treat treatment, excused bool, w, g protoreflect.Value, leases *leaseMap) string {
	equal := false
	switch {
	case fd.Message() != nil:
		return compareMessage(path, w.Message(), g.Message(), leases)
	case excused && treat == mappedLease:
		equal = leases.test(w.Int()) == g.Int()
	case excused && treat == nearSeconds:
		diff := w.Int() - g.Int()
		equal = -ttlToleranceSeconds <= diff && diff <= ttlToleranceSeconds
		if w.Int() < 0 || g.Int() < 0 { // -1 says "no such lease", not a time
			equal = diff == 0
		}
	default:
		equal = w.Equal(g)
	}
	if equal {
		return ""
	}
	return fmt.Sprintf("%s: want %s, got %s", path, showValue(fd, w), showValue(fd, g))
}

func compareLists(path string, fd protoreflect.FieldDescriptor, treat treatment, excused bool, w, g protoreflect.List, leases *leaseMap) string {
	if w.Len() != g.Len() {
		return fmt.Sprintf("%s: want %d entries, got %d", path, w.Len(), g.Len())
	}
	ws, gs := listValues(w), listValues(g)
	if excused && treat == sameLength {
		return ""
	}
	if excused && treat == asSet {
		sortValues(fd, ws, leases.test)
		sortValues(fd, gs, func(id int64) int64 { return id })
	}
	for i := range ws {
		at := fmt.Sprintf("%s[%d]", path, i)
		if d := compareValues(at, fd, treat, false, ws[i], gs[i], leases); d != "" {
			return d
		}
	}
	return ""
}

func listValues(l protoreflect.List) []protoreflect.Value {
	values := make([]protoreflect.Value, l.Len())
	for i := range values {
		values[i] = l.Get(i)
	}
	return values
}

// sortValues orders a list that has no order of its own: byte strings by
// content, members by name, leases by their id on the server under test.
func sortValues(fd protoreflect.FieldDescriptor, values []protoreflect.Value, id func(int64) int64) {
	if fd.Kind() == protoreflect.BytesKind {
		slices.SortFunc(values, func(a, b protoreflect.Value) int { return bytes.Compare(a.Bytes(), b.Bytes()) })
		return
	}
	if name := fd.Message().Fields().ByName("name"); name != nil {
		slices.SortFunc(values, func(a, b protoreflect.Value) int {
			return cmp.Compare(a.Message().Get(name).String(), b.Message().Get(name).String())
		})
		return
	}
	key := fd.Message().Fields().ByName("ID")
	slices.SortFunc(values, func(a, b protoreflect.Value) int {
		return cmp.Compare(id(a.Message().Get(key).Int()), id(b.Message().Get(key).Int()))
	})
}

func show(fd protoreflect.FieldDescriptor, m protoreflect.Message) string {
	if !m.Has(fd) {
		return "(absent)"
	}
	return showValue(fd, m.Get(fd))
}

func showValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch {
	case fd.Message() != nil:
		return text(v.Message().Interface())
	case fd.Kind() == protoreflect.BytesKind:
		return shorten(fmt.Sprintf("%q", v.Bytes()))
	}
	return shorten(v.String())
}
