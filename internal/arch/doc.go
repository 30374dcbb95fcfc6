// Package arch tests the shape of the code: who may import whom, what must stay
// pure, which doors lead outside, and how long things may get.
//
// There is nothing here but tests. Each rule stands in a table with its reason, and a
// violation prints the place, the reason and what to do instead. To change the
// architecture, change the table in the same commit and say why there.
//
//	imports_test.go  directions of imports, and the only users of outside packages
//	purity_test.go   no goroutine, channel, lock, clock, chance or I/O in stepped code
//	doors_test.go    clock, files, sockets and random numbers only through env
//	size_test.go     functions, files, package comments, leftover notes
//	docs_test.go     quotes, links and lists in the documents
package arch
