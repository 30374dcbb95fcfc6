// Package badinput gives the server what users and bad days give it: wrong
// flags, wrong directories, ports in use, wiped disks, garbage on the wire,
// lost majorities and full disks.
//
// A process that cannot start must end soon, with an exit code other than 0,
// one clear sentence as the last thing it prints, no stack trace, and without
// a change to any file. A process that runs must survive every request.
package badinput
