// Package tunnel has only tests: protocols made for TCP, over BOSH. Their clients and
// servers are as they come, and know nothing of it: MQTT, SSH and HTTP/2. A server
// takes its connections from Handler.Listener, and a client gets its own from
// boshclient.Dial, both with the framing Opaque.
//
// It is a module of its own: the library does not depend on theirs.
package tunnel
