// Package concurrency runs etcd's own recipes (mutex, election, software
// transactional memory) from clientv3/concurrency against three server
// processes while members are killed and restarted.
package concurrency
