package etcdraft

import "fmt"

// quiet is etcd's logger without a log: what an operator needs to know is in Status
// and Ready. A panic of etcd's is a broken invariant and stays one.
type quiet struct{}

func (quiet) Debug(...any)            {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Error(...any)            {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warning(...any)          {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Fatal(v ...any)          { panic("etcdraft: " + fmt.Sprint(v...)) }
func (quiet) Fatalf(f string, v ...any) {
	panic("etcdraft: " + fmt.Sprintf(f, v...))
}
func (quiet) Panic(v ...any) { panic("etcdraft: " + fmt.Sprint(v...)) }
func (quiet) Panicf(f string, v ...any) {
	panic("etcdraft: " + fmt.Sprintf(f, v...))
}
