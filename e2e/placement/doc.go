// Package placement moves replicas about between real processes: nodes join, are drained and removed,
// die with their whole zone, and come back, while clients write.
package placement
