package client_test

import (
	"context"
	"fmt"
	"log"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/client"
)

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// The empty name is the keyspace "default".
	c, err := client.New(clientv3.Config{Endpoints: endpoints}, "")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Put(ctx, "greeting", "hello"); err != nil {
		log.Fatal(err)
	}
	resp, err := c.Get(ctx, "greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s in %s\n", resp.Kvs[0].Value, c.Keyspace())
	// Output: hello in default
}

func ExampleClient_Keyspaces() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.New(clientv3.Config{Endpoints: endpoints}, "")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	made, err := c.Keyspaces().Create(ctx, &quoratev1.CreateRequest{Name: "example", QuotaBytes: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(made.Keyspace.Name, "has", len(made.Keyspace.Shards[0].Replicas), "replicas")
	// Output: example has 3 replicas
}

func ExampleInKeyspace() {
	// A client that somebody else's code makes, from a configuration that is ours.
	cfg := clientv3.Config{Endpoints: endpoints, DialOptions: client.InKeyspace("default")}
	c, err := clientv3.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := c.Put(ctx, "greeting", "hello again"); err != nil {
		log.Fatal(err)
	}
	resp, err := c.Get(ctx, "greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Kvs[0].Value)
	// Output: hello again
}
