package main

import (
	"encoding/gob"
	"net"
	"time"

	"github.com/quorate/quorate/consensus"
)

const (
	patience = time.Second            // with a peer that does not answer or takes nothing
	redial   = 100 * time.Millisecond // between attempts to reach a peer
)

// transmit sends one peer what is in its queue, and connects again when that fails. Messages
// may be lost then; that is all right. Links go one way: the peer has one to us.
func transmit(addr string, queue <-chan consensus.Message) {
	for ; ; time.Sleep(redial) {
		conn, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			continue
		}
		for encoder := gob.NewEncoder(conn); err == nil; {
			msg := <-queue
			_ = conn.SetWriteDeadline(time.Now().Add(patience))
			err = encoder.Encode(&msg)
		}
		conn.Close()
	}
}

// receive hands what the peers send to the loop. If that is busy, their links fill up.
func (c *counter) receive(from net.Listener) error {
	for {
		conn, err := from.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			for decoder := gob.NewDecoder(conn); ; {
				var msg consensus.Message
				if decoder.Decode(&msg) != nil {
					return // the peer connects again
				}
				c.events <- func() { c.step(msg) }
			}
		}()
	}
}
