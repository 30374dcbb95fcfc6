package main

import "net"

// serviceManager is told about our state by datagram, as sd_notify(3) describes. Units
// written for etcd have Type=notify and count on it.
type serviceManager struct {
	socket string // empty: nobody listens
}

func (m serviceManager) notify(state string) error {
	if m.socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
