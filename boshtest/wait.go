package boshtest

import (
	"io"
	"net/http"
)

// A signal wakes all waiters for a change. Its owner's lock guards it.
type signal struct{ ch chan struct{} }

// wait returns a channel. The next send closes it.
func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) send() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// readBody reads and closes a response's body. It returns all or nothing.
func readBody(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return data, nil
}
