package boshnats

import (
	"errors"
	"strings"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/relay"
	"github.com/nats-io/nats.go"
)

// serve gets requests of our sessions.
func (n *Node) serve(m *nats.Msg) { n.serveAt(m, false) }

// serveAt is serve; adopted says that the message is for a node that has left.
func (n *Node) serveAt(m *nats.Msg, adopted bool) {
	if len(m.Data) == 0 || m.Reply != "" && !strings.HasPrefix(m.Reply, n.o.Subject+".reply.") {
		return
	}
	data := m.Data[1:]
	switch m.Data[0] {
	case ping:
		n.nc.Publish(m.Reply, append([]byte{pong}, n.instance...))
		return
	case whole:
	case via:
		n.forward(m.Reply, data)
		return
	case piece:
		var ok bool
		if data, ok = n.assemble(m.Reply, data); !ok {
			return
		}
	case offered:
		n.confirm(m.Reply, n.offer(data))
		return
	case taken:
		n.confirm(m.Reply, n.succeed(string(data), true))
		return
	case handedPart:
		var ok bool
		if data, ok = n.assemble(m.Reply, data); !ok {
			return
		}
		n.admit(m.Reply, n.takeOver(data, false))
		return
	case handed, question:
		n.admit(m.Reply, n.takeOver(data, m.Data[0] == question))
		return
	default:
		return
	}
	next := n.next.Load()
	inherited := false // if the session is of another's name, the Handler does not pass it on
	if next != nil {
		n.mu.Lock()
		inherited = len(n.heirs) > 0
		n.mu.Unlock()
	}
	h := n.h.Load()
	if h == nil || n.doubted.Load() {
		n.refuse(m.Reply)
		return
	}
	if m.Reply == "" {
		h.ServeRelay(data, nil)
		if next != nil {
			n.send(n.subject(next.name), "", data)
		}
		return
	}
	reply := m.Reply
	h.ServeRelay(data, func(a []byte, err error) {
		if errors.Is(err, bosh.ErrMoved) {
			switch {
			case next != nil && inherited && !relay.Short(data):
				n.relay(next.name, data, perhaps(func(a []byte, err error) {
					if err == nil {
						err = n.send(reply, "", a)
					}
					n.answerError(reply, err)
				}), false)
				return
			case adopted && n.next.Load() == nil:
				err = bosh.ErrNoNode
			}
			n.answerError(reply, err) // and where to, if that is known
			return
		}
		if err == nil {
			err = n.send(reply, "", a)
		}
		if err == errLarge {
			n.o.Logger.Error("boshnats: an answer is larger than Options.MaxMessage, and its client cannot get it", "bytes", len(a), "max", n.o.MaxMessage)
		}
		n.answerError(reply, err)
	})
}

// confirm says yes or no.
func (n *Node) confirm(reply string, yes bool) {
	if !yes {
		n.refuse(reply)
	} else if reply != "" {
		n.nc.Publish(reply, []byte{whole})
	}
}

// admit says that a session is here, or why not.
func (n *Node) admit(reply string, err error) {
	if err == nil || reply == "" {
		n.confirm(reply, true)
		return
	}
	n.nc.Publish(reply, append([]byte{failure}, err.Error()...))
}

// answerError answers by an error, if it is one.
func (n *Node) answerError(reply string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, bosh.ErrMoved):
		to := n.successor()
		if x := (relay.MovedTo)(""); errors.As(err, &x) {
			to = string(x)
		}
		n.nc.Publish(reply, append([]byte{moved}, to...))
	case errors.Is(err, bosh.ErrNoNode):
		n.nc.Publish(reply, []byte{nobody})
	default:
		n.refuse(reply)
	}
}

// forward passes on a message for another node without a direct route.
func (n *Node) forward(reply string, data []byte) {
	to, m, ok := unseal(data)
	switch {
	case !ok || bosh.CheckNode(to) != nil || to == n.o.Name:
		n.refuse(reply)
	case reply == "":
		n.send(n.subject(to), "", m)
	default:
		n.relay(to, m, func(a []byte, err error) {
			if err == nil {
				err = n.send(reply, "", a)
			}
			n.answerError(reply, err)
		}, false)
	}
}

func (n *Node) refuse(reply string) {
	if reply != "" {
		n.nc.Publish(reply, []byte{failure})
	}
}

// assemble adds a piece of a request, and returns it when it is whole.
func (n *Node) assemble(reply string, data []byte) (m []byte, ok bool) {
	if reply == "" {
		return nil, false
	}
	n.mu.Lock()
	p := n.partial[reply]
	if p == nil {
		p = new(part)
		n.partial[reply] = p
	}
	before := len(p.b)
	done, err := p.add(data, n.o.MaxMessage)
	n.parts += len(p.b) - before
	p.at = time.Now()
	if err == nil && n.parts > 4*n.o.MaxMessage {
		err = errLarge
	}
	if done || err != nil {
		delete(n.partial, reply)
		n.parts -= len(p.b)
	}
	n.mu.Unlock()
	if err != nil {
		n.refuse(reply)
	}
	return p.b, done && err == nil
}
