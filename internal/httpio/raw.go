package httpio

import "net/http"

// A RawAnswer is an answer whose head is written without net/http.
type RawAnswer struct {
	Status int         // 0 stands for 200
	Before string      // fields of the head, as they are written
	Type   string      // of the content; none if empty
	After  string      // more fields, behind the Content-Type
	Header http.Header // more of them
	Body   []byte
}

// A RawRequest is a request received without net/http.
type RawRequest interface {
	// Header returns the values of a field by its canonical name.
	Header(name string) []string

	// Extra returns the header fields set by others for the answer. They are the
	// caller's.
	Extra() http.Header
}

// Raw returns the answer to q. It does not panic unless AllowOrigin does.
func (e *Endpoint) Raw(q RawRequest, a Answer) RawAnswer {
	out := RawAnswer{Status: a.Status, Body: a.Body}
	if e.preflights.Pending() {
		e.asked(q.Header("Origin"))
	}
	hd := q.Extra()
	if hd == nil && e.static && e.o.Compress <= 0 {
		out.Before, out.After = e.before, e.after
		if a.Status == 0 {
			out.Type = a.Content
		}
		return out
	}
	if hd == nil {
		hd = make(http.Header)
	}
	e.set(hd, http.MethodPost, q.Header("Origin"))
	if a.Status == 0 {
		if e.o.Compress > 0 {
			out.Body = e.compress(hd, q.Header("Accept-Encoding"), a.Body)
		}
		hd["Content-Type"] = contentType(a.Content)
	}
	out.Header = hd
	return out
}
