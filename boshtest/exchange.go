package boshtest

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A Response is the answer to one raw request.
type Response struct {
	Status int
	Header http.Header
	Text   []byte        // the whole text
	After  time.Duration // how long it took

	// Body is the text parsed, or nil if it is none: an HTTP error. Use its
	// methods through the Response: r.Attr("condition").
	*Body
}

// Payload returns the text of all payloads.
func (r *Response) Payload() string {
	if r.Body == nil {
		return ""
	}
	return string(bytes.Join(r.Payloads, nil))
}

// String returns the whole text.
func (r *Response) String() string { return string(r.Text) }

// Exchange posts a raw body and waits for the answer. A failed transport fails
// the test at once, and so does an answer with status 200 without one
// well-formed <body/>.
func Exchange(t testing.TB, rt http.RoundTripper, body string) *Response {
	t.Helper()
	return Post(t, rt, body).Wait()
}

// A Call is a raw request under way.
type Call struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}

	// Set before done is closed.
	resp *Response
	err  error
}

// Post posts a raw body and does not wait. The test's end aborts it and waits
// for its goroutine; inside a bubble of [testing/synctest] it is the end of the
// bubble's test.
func Post(t testing.TB, rt http.RoundTripper, body string) *Call {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &Call{t: t, cancel: cancel, done: make(chan struct{})}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bosh.test/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/xml; charset=utf-8")
	go func() {
		defer close(c.done)
		c.resp, c.err = roundTrip(rt, r)
	}()
	t.Cleanup(c.Cancel)
	return c
}

// Wait waits for the answer. It fails the test as Exchange does, and so must
// be called by the test's goroutine.
func (c *Call) Wait() *Response {
	c.t.Helper()
	<-c.done
	if c.err != nil {
		c.t.Fatalf("boshtest: %v", c.err)
	}
	return c.resp
}

// Answered reports whether the answer is there. In a bubble, call
// synctest.Wait before.
func (c *Call) Answered() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Cancel breaks the connection, if there is no answer yet, and waits until the
// client's side of it is gone. A server sees it a moment later.
func (c *Call) Cancel() {
	c.cancel()
	<-c.done
}

// Err waits for the end of the call and returns the error of a failing Wait:
// nil if there is an answer.
func (c *Call) Err() error {
	<-c.done
	return c.err
}

func roundTrip(rt http.RoundTripper, r *http.Request) (*Response, error) {
	start := time.Now()
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	text, err := readBody(resp)
	if err != nil {
		return nil, err
	}
	a := &Response{Status: resp.StatusCode, Header: resp.Header, Text: text, After: time.Since(start)}
	if a.Status != http.StatusOK {
		return a, nil
	}
	if err := wellFormed(text); err != nil {
		return nil, errors.New("boshtest: malformed answer: " + err.Error() + ": " + string(text))
	}
	a.Body, err = ParseBody(text)
	return a, err
}

// wellFormed adds to the checks of ParseBody: names, characters, references,
// and the declarations of all prefixes.
func wellFormed(text []byte) error {
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errors.New("not UTF-8") }
	scopes := []map[string]bool{{"": true, "xml": true, "xmlns": true}}
	declared := func(prefix string) bool {
		for _, s := range scopes {
			if s[prefix] {
				return true
			}
		}
		return false
	}
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			return nil // ParseBody checks that the tags match
		}
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.StartElement:
			scope := make(map[string]bool)
			seen := make(map[xml.Name]bool)
			for _, a := range token.Attr {
				if a.Name.Space == "xmlns" {
					scope[a.Name.Local] = true
				}
				if seen[a.Name] {
					return errors.New("attribute twice: " + a.Name.Local)
				}
				seen[a.Name] = true
			}
			scopes = append(scopes, scope)
			if !declared(token.Name.Space) {
				return errors.New("prefix not declared: " + token.Name.Space)
			}
			for _, a := range token.Attr {
				if !declared(a.Name.Space) {
					return errors.New("prefix not declared: " + a.Name.Space)
				}
			}
		case xml.EndElement:
			if len(scopes) > 1 {
				scopes = scopes[:len(scopes)-1]
			}
		case xml.Comment, xml.Directive:
			return errors.New("comment or directive")
		case xml.ProcInst:
			if token.Target != "xml" {
				return errors.New("processing instruction")
			}
		}
	}
}
