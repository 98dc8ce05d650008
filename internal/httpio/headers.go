package httpio

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Headers says which headers to set. The zero value lets pages of any origin in.
type Headers struct {
	// AllowOrigin reports whether pages of an origin are let in. If it is
	// nil, all are.
	AllowOrigin func(origin string) bool

	// NoCORS leaves CORS to other code.
	NoCORS bool

	// AllowHeaders are the headers that pages may set besides Content-Type.
	AllowHeaders []string

	// Credentials lets pages send cookies and the like, if AllowOrigin is set.
	Credentials bool
}

// The values are shared by all answers: nobody may change them in place.
var (
	noStore      = []string{"no-store"}
	noSniff      = []string{"nosniff"}
	sandbox      = []string{"sandbox; default-src 'none'; frame-ancestors 'none'"}
	anyOrigin    = []string{"*"}
	allowMethods = []string{"POST, OPTIONS"}
	credentials  = []string{"true"}
	maxAge       = []string{"7200"}
)

// The headers for CORS.
const (
	allowOrigin      = "Access-Control-Allow-Origin"
	allowMethod      = "Access-Control-Allow-Methods"
	allowHeader      = "Access-Control-Allow-Headers"
	allowCredentials = "Access-Control-Allow-Credentials"
	accessMaxAge     = "Access-Control-Max-Age"
)

// Set sets the headers of the answer to a request with the method and the values of
// its Origin header. A body may echo text posted by a stranger's page, so a browser
// must not take it for a document of ours.
//
// It reports whether other code had already set the headers for pages of other
// origins, and Set left them alone: see Policed.
func (h *Headers) Set(hd http.Header, method string, origin []string) (others bool) {
	others = !h.NoCORS && Policed(hd)
	hd["Cache-Control"] = noStore
	hd["X-Content-Type-Options"] = noSniff
	hd["Content-Security-Policy"] = sandbox
	switch {
	case h.NoCORS:
	case others && method == http.MethodOptions && hd[allowOrigin] != nil:
		h.preflight(hd) // whoever lets pages in and says no more leaves the rest to us
	case others:
	case h.allow(hd, origin) && method == http.MethodOptions:
		h.preflight(hd)
	}
	return others
}

// preflight sets the unset headers about requests from an allowed page.
func (h *Headers) preflight(hd http.Header) {
	for name, value := range map[string][]string{
		allowMethod: allowMethods, accessMaxAge: maxAge,
		allowHeader: {strings.Join(append([]string{"Content-Type"}, h.AllowHeaders...), ", ")},
	} {
		if hd[name] == nil {
			hd[name] = value
		}
	}
}

// Policed reports whether somebody in front has set headers for CORS, or decided by
// the Origin not to.
func Policed(hd http.Header) bool {
	for name, values := range hd {
		if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) || name == "Vary" && slices.ContainsFunc(values, byOrigin) {
			return true
		}
	}
	return false
}

const prefix = "Access-Control-"

// byOrigin reports whether a value of Vary names Origin.
func byOrigin(vary string) bool {
	for name := range strings.SplitSeq(vary, ",") {
		if strings.EqualFold(strings.TrimSpace(name), "Origin") {
			return true
		}
	}
	return false
}

// Static reports whether all answers to POST have the same headers, and returns
// them as written, except for the Content-Type between the two.
func (h *Headers) Static() (before, after string, ok bool) {
	if h.AllowOrigin != nil && !h.NoCORS {
		return "", "", false
	}
	hd := make(http.Header)
	h.Set(hd, http.MethodPost, nil)
	for _, name := range slices.Sorted(maps.Keys(hd)) {
		line := name + ": " + hd[name][0] + "\r\n"
		if name < "Content-Type" {
			before += line
		} else {
			after += line
		}
	}
	return before, after, true
}

// allow lets a page of origin in, if it may.
func (h *Headers) allow(hd http.Header, origin []string) bool {
	if h.AllowOrigin == nil {
		hd[allowOrigin] = anyOrigin
		return true
	}
	hd.Add("Vary", "Origin")
	if len(origin) != 1 || !h.AllowOrigin(origin[0]) {
		return false
	}
	hd[allowOrigin] = origin
	if h.Credentials {
		hd[allowCredentials] = credentials
	}
	return true
}

// Foreign reports whether r comes from a page without permission. Withheld headers
// keep such a page from reading the answer, not from having its request served,
// with the user's cookies perhaps.
func (h *Headers) Foreign(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if h.NoCORS || h.AllowOrigin == nil || origin == "" || h.AllowOrigin(origin) {
		return false
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site != "same-origin" && site != "none"
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}
