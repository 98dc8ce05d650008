//go:build !linux

package direct

// A poller would watch resting connections. Here they have a goroutine.
type poller struct{}

func (p *poller) watch(c *conn) bool { return false }
func (p *poller) unwatch(c *conn)    {}
