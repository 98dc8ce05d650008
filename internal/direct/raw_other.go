//go:build !unix

package direct

type syscallConn any

// initRaw does nothing: reading waits with a buffer of a byte, and every answer
// is written by the reader.
func (c *conn) initRaw() {}
